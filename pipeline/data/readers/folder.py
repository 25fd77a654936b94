"""A folder with a folder of images for each class, packed into one .zip file.

The file stands for thousands of images: it has one SHA-256. PNG is decoded to the same pixels
everywhere; JPEG is not, as its standard leaves decoders a choice of roundings.
"""

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.examples import Examples, File
from pipeline.data.readers import picture
from pipeline.data.readers.labels import numbered
from pipeline.errors import UserError, explained
from pipeline.files import shown
from pipeline.settings.dataset import Dataset

if TYPE_CHECKING:
    from PIL import Image

PARTS = ("train", "test")
HIDDEN = (".", "__MACOSX", "Thumbs.db")  # begin the names of files that systems write
BLOCK_BYTES = 2**24
MOST_SIZES = 5  # in an error line
LAYOUT = "CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"


class Found(NamedTuple):
    """A file of an image, and what the folders that it lies in say."""

    part: str
    label: str
    path: str


def read(
    folder: Path, dataset: Dataset, *, archive: File, labels: list[str] | None = None
) -> dict[str, Examples]:
    """Read images, in the order of their paths.

    Grey images are (height, width), colour images (height, width, 3). If there are both, or
    palettes, all are colour, which changes no pixel.

    Parameters
    ----------
    archive : str
        A .zip file with CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE.
    labels : list of str, optional
        The folder of each class, if that is not the class's name.

    Raises
    ------
    UserError
        If images are damaged, of several sizes, transparent, or of 16 bits.
    """
    place = folder / archive
    with _opened(place) as members:
        images = find(members.namelist(), place)
        shape = _shape(members, images, place)
    examples = {}
    for part in dict.fromkeys(image.part for image in images):
        own = [image for image in images if image.part == part]
        values = np.array([image.label for image in own])
        examples[part] = Examples(
            labels=numbered(values, dataset.classes, labels, shown(place)),
            shape=shape,
            dtype=np.dtype(np.uint8),
            blocks=partial(_blocks, place, [image.path for image in own], shape),
            place=shown(place),
        )
    return examples


def find(paths: Sequence[str], place: Path) -> list[Found]:
    """Return the images among the paths below a place, sorted by their paths.

    Raises
    ------
    UserError
        If there is none, or something else lies where images are expected.
    """
    files = [PurePosixPath(path) for path in sorted(paths) if not path.endswith("/")]
    files = [one for one in files if not any(part.startswith(HIDDEN) for part in one.parts)]
    folders = {file.parts[0] for file in files if len(file.parts) > 1}
    split = folders >= {*PARTS}
    if split and (more := folders - {*PARTS}):
        names = ", ".join(sorted(more))
        raise UserError(f"{shown(place)}: beside train and test lies {names}: move it away")
    images = []
    for file in files:
        *above, name = file.parts
        if not str(file).isprintable():
            raise UserError(f"{shown(place)}: {str(file)!r} needs a printable name")
        is_image = name.lower().endswith(picture.SUFFIXES)
        if len(above) == 1 + split and is_image:
            images.append(Found(above[0] if split else "train", above[-1], str(file)))
        elif is_image:
            raise UserError(f"{shown(place)}: {file} does not lie as {LAYOUT}")
        elif len(above) == 1 + split:
            raise UserError(f"{shown(place)}: {file} is neither a PNG nor a JPEG: convert it")
    if not images:
        raise UserError(f"{shown(place)}: has no PNG or JPEG images as {LAYOUT}")
    return images


def _blocks(
    place: Path, names: Sequence[str], shape: tuple[int, ...]
) -> Iterator[NDArray[np.uint8]]:
    """Yield images of an archive, (k, *shape) at a time."""
    size = max(BLOCK_BYTES // prod(shape), 1)
    with _opened(place) as members:
        for start in range(0, len(names), size):
            block = []
            for name in names[start : start + size]:
                with _image(members, name, place) as (image, where):
                    block.append(picture.pixels(image, where, colour=len(shape) == 3))
            yield np.stack(block)


def _shape(members: zipfile.ZipFile, images: Sequence[Found], place: Path) -> tuple[int, ...]:
    """Return the one shape that all images have; only the beginning of each is read."""
    sizes: Counter[tuple[int, int]] = Counter()
    first: dict[tuple[int, int], str] = {}
    colours = set()
    for _, _, name in images:
        with _image(members, name, place) as (image, where):
            sizes[image.size] += 1
            first.setdefault(image.size, name)
            colours.add(picture.is_colour(image, where))
    if len(sizes) > 1:
        listed = ", ".join(f"{w} x {h} ({n:,})" for (w, h), n in sizes.most_common(MOST_SIZES))
        more = " ..." if len(sizes) > MOST_SIZES else ""
        width, height = rarest = sizes.most_common()[-1][0]
        raise UserError(
            f"{shown(place)}: has images of {len(sizes)} sizes, width x height: {listed}{more}: "
            f"scale them to one; {first[rarest]} is {width} x {height}"
        )
    ((width, height),) = sizes
    return (height, width, 3) if any(colours) else (height, width)


@contextmanager
def _opened(place: Path) -> Iterator[zipfile.ZipFile]:
    with explained(f"{shown(place)}: cannot be read"), zipfile.ZipFile(place) as members:
        yield members


@contextmanager
def _image(members: zipfile.ZipFile, name: str, place: Path) -> Iterator[tuple["Image.Image", str]]:
    """Open an image of an archive; yield it and what messages call it."""
    where = f"{shown(place)}: {name}"
    with (
        explained(f"{where} cannot be read"),
        members.open(name) as file,
        picture.opened(file, where) as image,
    ):
        yield image, where
