"""A folder with a folder of images for each class, packed into one file."""

import zipfile
from pathlib import Path

import numpy as np

from pipeline.adopting.found import Found, check_names, classes_of, unused
from pipeline.data.readers import folder as reader
from pipeline.data.readers import picture
from pipeline.files import shown

ARCHIVE = "images.zip"


def has_images(path: Path) -> bool:
    """Tell whether a folder below a folder holds an image."""
    below = (one for one in path.glob("*/**/*") if one.is_file())
    return any(one.name.lower().endswith(picture.SUFFIXES) for one in below)


def look(path: Path, staging: Path) -> Found:
    """Return the data set of a folder of images, packed into a file in the folder `staging`.

    The same images give the same bytes, whenever and wherever they are packed.

    Raises
    ------
    UserError
        If the images do not lie as they should.
    """
    files = [str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()]
    images = reader.find(files, path)
    check_names(sorted({image.label for image in images}), shown(path), of_folders=True)
    train = [image for image in images if image.part == "train"]
    labels = np.array([image.label for image in train])
    classes, _ = classes_of(labels, shown(path), lambda number: train[number].path)
    with zipfile.ZipFile(staging / ARCHIVE, "w", zipfile.ZIP_STORED) as packed:
        for image in images:
            info = zipfile.ZipInfo(image.path, date_time=(1980, 1, 1, 0, 0, 0))
            packed.writestr(info, (path / image.path).read_bytes())
    left_out = unused(path, [image.path for image in images])
    return Found("folder", {"archive": ARCHIVE}, staging, [ARCHIVE], classes, left_out)
