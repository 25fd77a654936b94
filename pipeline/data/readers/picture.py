"""PNG and JPEG files as arrays of bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError, explained

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
GREY, COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA")  # Pillow's modes; palettes are colours
DEPTH = 24  # the byte of a PNG file that holds its bits a channel


@contextmanager
def opened(file: IO[bytes], name: str) -> Iterator["Image.Image"]:
    """Open an image, of which Pillow reads the pixels when they are asked for.

    Raises
    ------
    UserError
        If it is damaged, of 16 bits a channel, or neither a PNG nor a JPEG; it begins with `name`.
    """
    from PIL import Image, UnidentifiedImageError

    with explained(f"{name} cannot be read"):
        start = file.read(DEPTH + 1)
        if start[:4] == b"\x89PNG" and start[-1] == 16:
            raise UserError(
                f"{name} has 16 bits a channel: convert it to 8 bits, or keep the pixels as an "
                "array"
            )
        file.seek(0)
        try:
            image = Image.open(file, formats=("PNG", "JPEG"))
        except UnidentifiedImageError:
            raise UserError(f"{name} is neither a PNG nor a JPEG: convert it") from None
        with image:
            yield image


def is_colour(image: "Image.Image", name: str) -> bool:
    """Tell whether an image has colours; refuse one that is neither grey nor RGB."""
    if image.mode not in (*GREY, *COLOUR):
        raise UserError(f"{name} is {image.mode}, not grey or RGB: convert it")
    return image.mode in COLOUR


def pixels(image: "Image.Image", name: str, *, colour: bool) -> NDArray[np.uint8]:
    """Return an image as uint8 (height, width), or (height, width, 3) in colour.

    One that is transparent somewhere is refused.
    """
    if "A" in image.getbands() or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if np.asarray(alpha).min() < 255:
            raise UserError(f"{name} is transparent: put it on a background")
        image.info.pop("transparency", None)  # of which Pillow would warn
    return np.asarray(image.convert("RGB" if colour else "L"))
