"""A drawn or photographed digit in the form of MNIST's: light on dark, centred, of one size."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError

BOX = 20 / 28  # of the image's side: the longer side of the digit
INK = 0.2  # of the strongest stroke: weaker ones are paper
LEAST_CONTRAST = 32  # of 255, between ink and paper


def paper(pixels: NDArray[np.uint8]) -> float:
    """Return how light the edge of grey images is, (height, width) or (n, height, width)."""
    sides = pixels[..., 0, :], pixels[..., -1, :], pixels[..., 0], pixels[..., -1]
    return float(np.median(np.concatenate([side.ravel() for side in sides])))


def fitted(pixels: NDArray[np.uint8], shape: tuple[int, int], name: str) -> NDArray[np.uint8]:
    """Return a grey image, uint8 (height, width), as MNIST's images were made, of a shape.

    The paper becomes 0 and the strongest stroke 255. The digit is cut out, scaled so that its
    longer side has 20 of 28 pixels, and moved so that its centre of mass is the image's centre
    (LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition,
    1998, section III A).

    Raises
    ------
    UserError
        If nothing is drawn on the image; the line begins with `name`.
    """
    from PIL import Image

    ink = np.abs(pixels.astype(np.float64) - paper(pixels))
    if ink.max() < LEAST_CONTRAST:
        raise UserError(
            f"{name}: shows no digit: ink and paper are too much alike: draw it with more contrast"
        )
    ink /= ink.max()
    ink[ink < INK] = 0
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = BOX * min(shape) / max(cut.shape)
    height, width = (max(round(side * factor), 1) for side in cut.shape)
    scaled = Image.fromarray(np.rint(cut * 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    )
    digit = np.asarray(scaled)
    canvas = np.zeros(shape, np.uint8)
    places = []
    for axis, (side, own) in enumerate(zip(shape, digit.shape, strict=True)):
        mass = digit.sum(1 - axis, dtype=np.int64)
        centre = (mass * np.arange(own)).sum() / mass.sum()
        start = int(np.clip(round((side - 1) / 2 - centre), 0, side - own))
        places.append(slice(start, start + own))
    canvas[tuple(places)] = digit
    return canvas
