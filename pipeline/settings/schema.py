"""What a configuration may hold, section by section."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.settings.dataset import Dataset, Section

Folder = Annotated[Path, Field(strict=False)]
Mode = Literal["portable", "machine", "off"]
Determinism = Annotated[Mode, BeforeValidator(lambda value: "off" if value is False else value)]
Seconds = Annotated[float, Field(gt=0, lt=10**6)]


def _rows_or_share(value: Any) -> Any:
    share = isinstance(value, float) and 0 < value < 1
    if not share and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError("should be a number of examples, or a share between 0 and 1")
    return value


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
    """Return a metric as a dictionary with its name; in the file it may be the name alone."""
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

    def with_output(self, folder: Path) -> "Paths":
        """Return the paths of a trial, whose results lie below a folder of its own."""
        names = ("models", "metrics", "plots")
        return self.model_copy(update={"output": folder} | {name: folder / name for name in names})


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
