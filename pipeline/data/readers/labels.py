"""Which class a label of a raw file means."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError


def numbered(
    values: NDArray[Any], classes: Sequence[str], labels: Sequence[int | str] | None, where: str
) -> NDArray[np.uint8]:
    """Return the number of the class of each label, uint8 (n,).

    Parameters
    ----------
    values : array (n,)
        The labels as a file holds them: integers, truth values or text.
    classes : sequence of str
        Their names, in the order of their numbers.
    labels : sequence of int or str, optional
        What the file holds for each class. Without it, that is the name of the class.
    where : str
        What an error line begins with.

    Raises
    ------
    UserError
        If a label is of no class, or `labels` are not one for each class.
    """
    known = {str(label): number for number, label in enumerate(labels or classes)}
    if len(known) != len(classes):
        raise UserError(
            f"dataset.options.labels: {len(known)} different labels are given for {len(classes)} "
            "classes: one for each is needed, in their order"
        )
    listed = values.tolist()
    numbers = {value: known.get(str(value)) for value in dict.fromkeys(listed)}
    for value, number in numbers.items():
        if number is None:
            raise UserError(
                f"{where}: the label {str(value)!r} of example {listed.index(value):,} is not one "
                f"of the {len(classes)} classes"
            )
    return np.fromiter(map(numbers.__getitem__, listed), np.uint8, len(listed))
