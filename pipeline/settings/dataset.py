"""What a file of conf/dataset/ may hold."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # of a file and a folder, the same on every file system
PACKAGE = r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*(@[\w.^~+-]+)?"  # SCOPE/NAME@VERSION
MOST_CLASSES = 256  # a label is a byte
Scaling = Literal["bytes", "minmax", "standardise", "none"]


class Section(BaseModel):
    """A part of the configuration: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _files_or_share(value: Any) -> Any:
    if value != "files" and not (isinstance(value, float) and 0 < value < 1):
        raise ValueError("should be files, or a share between 0 and 1")
    return value


class Source(Section):
    """Where the raw files may come from: one of the kinds of `pipeline.sources.kinds`."""

    npz: str | None = None
    gzip: str | None = None
    web: str | None = None
    folder: str | None = None
    npm: str | None = None
    package: Annotated[str, Field(pattern=r"^\w+(/[\w.-]+)*$")] | None = None

    @field_validator("npm")
    @classmethod
    def _in_the_registry(cls, package: str) -> str:
        if not re.fullmatch(PACKAGE, package):  # npm takes options, paths and git addresses too
            raise ValueError("must be a package of the registry, as name@1.0.0")
        return package

    @model_validator(mode="after")
    def _one_kind(self) -> "Source":
        if len(self.model_fields_set) != 1:
            raise ValueError("must have exactly one of npz, gzip, web, folder, npm, package")
        return self

    def __str__(self) -> str:
        return " ".join(self.named)

    @property
    def named(self) -> tuple[str, str]:
        """The kind, and where it points."""
        (named,) = self.model_dump(exclude_unset=True).items()
        return named


class Dataset(Section):
    """A file of conf/dataset/.

    Attributes
    ----------
    reader, options
        An entry of `READERS`, and its keyword-only arguments.
    shape : list of int
        Of one example.
    split : "files" or float
        Where the test part comes from: the reader's files, or a share of each class.
    seed : int
        Of the split and of the order of the training examples.
    validation : "last" or "stratified"
        Which training examples `train.validation_size` holds out: the last ones of the files, or
        the same share of each class.
    scale : str
        How features are brought to a common size; see `Scale`.
    max_bytes : int
        A source that sends a larger file, unpacked, is given up.
    files : dict of str to str
        The SHA-256 of each raw file, as it lies on the disk.
    sources : list of Source
        Where the files come from, tried in this order.
    """

    name: str
    reader: str
    options: dict[str, Any] = Field(default_factory=dict)
    classes: Annotated[list[str], Field(min_length=2, max_length=MOST_CLASSES)]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=3)]
    split: Annotated[Literal["files"] | float, BeforeValidator(_files_or_share)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    validation: Literal["last", "stratified"] = "stratified"
    scale: Scaling
    max_bytes: Annotated[int, Field(ge=1)]
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    sources: list[Source] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _of_a_folder(cls, name: str) -> str:
        if not re.fullmatch(NAME, name):
            raise ValueError("must be letters (a to z), digits, _, - and .: a folder has this name")
        return name

    @field_validator("classes")
    @classmethod
    def _different(cls, classes: list[str]) -> list[str]:
        if twice := [name for number, name in enumerate(classes) if name in classes[:number]]:
            raise ValueError(f"must be different names, but {twice[0]!r} stands there twice")
        return classes

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if not {"..", ".", ""}.isdisjoint(name.split("/")):
                raise ValueError(f"must be paths below data/raw/, not {name!r}")
        return files
