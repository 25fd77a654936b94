"""Examples that somebody asks a model about, as it was trained on them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.description import Description
from pipeline.data.examples import NUMBERS
from pipeline.data.scaling import LARGEST
from pipeline.errors import UserError


def taken(
    data: Any, described: Description, *, exact: bool
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return examples as the model was trained on them: flat and scaled, bytes as uint8.

    Parameters
    ----------
    data : array, DataFrame or list
        Of the shape (n, features), or images: numbers as the raw files hold them; of a data set
        with `scale: bytes`, bytes as uint8, or other numbers in [0, 1]. A table may have its
        columns in any order if it names them all.
    described : Description
    exact : bool
        Whether the model computes exactly, which bounds its features.

    Raises
    ------
    UserError
        If it is anything else, or empty.
    """
    names, features = described.features, math.prod(described.shape)
    if names and {*names} <= {*map(str, getattr(data, "columns", ()))}:
        data = data[names]
    try:
        array = np.asarray(data)
        if array.dtype == object:  # cells of several types, or each a list
            array = np.array(array.tolist(), np.float64)
    except (TypeError, ValueError, OverflowError):  # rows of different lengths, too
        array = np.array("")
    if array.dtype.kind not in NUMBERS:
        raise UserError(f"The input must be numbers, {features} for each example.")
    if not array.size:
        raise UserError("The input has no examples.")
    if array.ndim < 2 or math.prod(array.shape[1:]) != features:
        images = "".join(f", {size}" for size in described.shape)
        either = f", or images (n{images})" if len(described.shape) > 1 else ""
        raise UserError(
            f"The input has the shape {array.shape}, but must be (n, {features}){either}, "
            "also if n is 1."
        )
    array = array.reshape(len(array), features)
    if described.scale.kind == "bytes":
        if array.dtype == np.uint8:
            return array
        why = "but pixels lie between 0 and 1: divide bytes by 255, or give them as an array of "
        _refuse(~((array >= 0) & (array <= 1)), array, f"{why}uint8.")  # NaN is neither
        return array.astype(np.float32)
    _refuse(~np.isfinite(array), array, "which is not finite.")
    with np.errstate(over="ignore"):
        x = described.scaled(array)
    bounds = np.abs(x) < LARGEST if exact else np.isfinite(x)
    _refuse(~bounds, array, "which is too far from what the model was trained on.")
    return x


def _refuse(wrong: NDArray[np.bool_], array: NDArray[Any], why: str) -> None:
    if wrong.any():
        example, place = np.argwhere(wrong)[0]
        raise UserError(f"Example {example} has the value {array[example, place]:g}, {why}")
