"""Tables of what a configuration chooses by name: what is shipped, and what a team has in own/.

Whoever first looks into a table imports the modules of its folder, such as own/models/. Each enters
what it defines: `MODELS["small"] = Small`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline import own
from pipeline.errors import UserError
from pipeline.files import shown

Entry = TypeVar("Entry", bound=Callable[..., Any])


class Registry(Mapping[str, Entry]):
    """Classes or functions by name: those that are shipped, and a team's, in a folder of own/.

    With a `base`, all are classes that derive from it.
    """

    def __init__(
        self,
        folder: str,
        shipped: Mapping[str, Entry],
        root: Path = own.FOLDER,
        base: type | None = None,
    ):
        self._folder, self._entries, self._loaded = root / folder, dict(shipped), False
        self._base = base

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __setitem__(self, name: str, entry: Entry) -> None:
        """Enter a class or a function; a cell of a notebook may replace its own entry.

        Raises
        ------
        UserError
            If the name is taken, the entry is no class or function, or its file lies in the folder
            of another table.
        """
        if not callable(entry):
            raise UserError(f"{name!r} must be a class or a function, not {entry!r}")
        if self._base and not (isinstance(entry, type) and issubclass(entry, self._base)):
            raise UserError(f"{name!r} must be a class that derives from {self._base.__name__}")
        module, folders = entry.__module__, f"{self._folder.parent.name}."
        if module.startswith(folders) and not module.startswith(f"{folders}{self._folder.name}."):
            raise UserError(f"{name!r} belongs in a file of {shown(self._folder)}/: move it there")
        if name in self._entries and module != "__main__":
            file = f"{self._entries[name].__module__.replace('.', '/')}.py"
            raise UserError(f"the name {name!r} is taken, by {file}: choose another one")
        self._entries[name] = entry

    def _all(self) -> Mapping[str, Entry]:
        """Return all entries, those of own/ too."""
        if not self._loaded:
            self._loaded = True  # a module that is being imported may look into the table as well
            for file in sorted(self._folder.glob("[!.]*.py")):
                before = dict(self._entries)
                try:
                    own.load(file)
                except UserError:
                    self._entries, self._loaded = before, False
                    raise
        return self._entries
