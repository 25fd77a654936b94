"""What a configuration may hold, section by section."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # of a file and a folder, the same on every file system
PACKAGE = r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*(@[\w.^~+-]+)?"  # SCOPE/NAME@VERSION
Folder = Annotated[Path, Field(strict=False)]
Mode = Literal["portable", "machine", "off"]
Determinism = Annotated[Mode, BeforeValidator(lambda value: "off" if value is False else value)]
Scaling = Literal["bytes", "minmax", "standardise", "none"]
Seconds = Annotated[float, Field(gt=0, lt=10**6)]


def _files_or_share(value: Any) -> Any:
    if value != "files" and not (isinstance(value, float) and 0 < value < 1):
        raise ValueError("should be files, or a share between 0 and 1")
    return value


def _rows_or_share(value: Any) -> Any:
    share = isinstance(value, float) and 0 < value < 1
    if not share and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError("should be a number of examples, or a share between 0 and 1")
    return value


class Section(BaseModel):
    """A part of the configuration: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Source(Section):
    """Where the raw files may come from: exactly one of the kinds."""

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
        Which training examples `train.validation_size` holds out: the last of the files, or as many
        of each class as its share.
    scale : str
        How features are brought to a common size.
    files : dict of str to str
        The SHA-256 of each raw file, as it lies on the disk.
    """

    name: str
    reader: str
    options: dict[str, Any] = Field(default_factory=dict)
    classes: Annotated[list[str], Field(min_length=2, max_length=256)]
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


class Choice(BaseModel):
    """A file of conf/model/ or conf/optimizer/, or a metric: a name and the options it takes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})

    @property
    def title(self) -> str:
        """The name and the values of the options, such as top_3: what a metric is called."""
        return "_".join(map(str, (self.name, *self.options.values())))


def _named(metric: Any) -> Any:
    """Return a metric as name and options, which may be given by its name alone."""
    if not isinstance(metric, str | dict):
        raise ValueError("should be the name of a metric, or {name: NAME, OPTION: VALUE}")
    return {"name": metric} if isinstance(metric, str) else metric


def _under_different_names(metrics: list[Choice]) -> list[Choice]:
    taken = {"loss", "accuracy_low", "accuracy_high", "examples"}  # they are in evaluation.json
    for metric in metrics:
        if metric.title in taken:
            raise ValueError(f"should have names of their own, and {metric.title} is taken")
        taken.add(metric.title)
    return metrics


Metrics = Annotated[
    list[Annotated[Choice, BeforeValidator(_named)]], AfterValidator(_under_different_names)
]


class Train(Section):
    """How the model is trained."""

    epochs: Annotated[int, Field(ge=1, lt=2**31)]
    batch_size: Annotated[int, Field(ge=1, lt=2**31)] | None
    learning_rate: Annotated[float, Field(ge=1e-30, allow_inf_nan=False)]  # no denormal float32
    validation_size: Annotated[int | float, BeforeValidator(_rows_or_share)]
    schedule: Annotated[str, BeforeValidator(lambda name: "constant" if name is None else name)]
    patience: Annotated[int, Field(ge=1, lt=2**31)] | None


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
