"""Probabilities that may be larger than memory, kept in a file while metrics are computed."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.files import cannot_write


def kept(blocks: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return blocks (rows, columns) one below the other, mapped from a file without a name.

    The file lies in the folder that TMPDIR names, and is gone when the array is.

    Raises
    ------
    UserError
        If there is no room for it.
    """
    columns = 0
    try:
        with tempfile.TemporaryFile() as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block).data)
                columns = block.shape[1]
            file.flush()
            return np.memmap(file, np.float64, "r").reshape(-1, columns)
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error
