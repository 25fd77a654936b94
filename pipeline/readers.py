"""The readers: `READERS` maps `reader` in a file of conf/dataset/ to a function.

Each, here or in own/readers/, is called with the folder of the raw files and the data set. It
returns a dictionary with the `Examples` of the part `train`, and of the part `test` if the files
have one. Its keyword-only arguments are the `options` of the data set, which are checked against
their annotations before a file is opened.
"""

from collections.abc import Callable
from typing import Any

from pipeline.data.examples import Examples
from pipeline.data.readers import arrays, folder, idx, table
from pipeline.errors import UserError
from pipeline.registry import Registry
from pipeline.settings.check import check_options
from pipeline.settings.dataset import Dataset
from pipeline.settings.explain import where_set

Reader = Callable[..., dict[str, Examples]]

READERS: Registry[Reader] = Registry(
    "readers",
    {"arrays": arrays.read, "folder": folder.read, "idx": idx.read, "table": table.read},
)


def options_of(dataset: Dataset) -> dict[str, Any]:
    """Return the checked options of a data set's reader.

    Raises
    ------
    UserError
        If the reader is not known, or an option is not one of its own.
    """
    if dataset.reader not in READERS:
        known = ", ".join(sorted(READERS))
        raise UserError(
            f"{where_set('dataset.reader')}: there is no {dataset.reader!r}; choose one of {known}"
        )
    reader, where = READERS[dataset.reader], ("dataset", "options")
    return check_options(reader, dataset.options, where, context={"files": dataset.files})
