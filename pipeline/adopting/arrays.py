"""NumPy's arrays: which hold examples, which hold labels, and which part each belongs to."""

from pathlib import Path

from pipeline.adopting.found import Found, classes_of, paired
from pipeline.data.readers import arrays, saved
from pipeline.files import shown

CHANNELS = (1, 3)


def is_array(path: Path) -> bool:
    """Tell whether a file holds arrays, by its name."""
    return path.is_file() and path.suffix in (".npy", ".npz")


def look(path: Path) -> Found:
    """Return the data set of an .npz archive, or of the arrays that lie in a folder.

    Raises
    ------
    UserError
        If it is not clear which arrays are meant.
    """
    alone = path.suffix == ".npz" and path.is_file()
    folder = path if path.is_dir() else path.parent
    files = [path] if alone else sorted(one for one in folder.iterdir() if is_array(one))
    shapes = {}
    for file in files:
        for name in saved.names(file):
            with saved.opened(folder / name) as array:
                shapes[name] = array.shape
    are_labels = {name: len(one) == 1 or one[1:] == (1,) for name, one in shapes.items()}
    parts, left_out = paired(are_labels, path)
    y = folder / parts["train"][1]
    classes, numbers = classes_of(arrays.text(y), shown(y))
    shape = shapes[parts["train"][0]]
    channels_first = len(shape) == 4 and shape[1] in CHANNELS and shape[3] not in CHANNELS
    options = {**parts, "labels": numbers, "channels_first": channels_first}
    used = {name.partition("/")[0] for pair in parts.values() for name in pair}
    return Found("arrays", options, folder, sorted(used), classes, left_out)
