"""Seeds: what one setting reaches on the test set, over several seeds.

    python -m pipeline.seeds [n=10] [KEY=VALUE ...]

    n=10          how many seeds; they are 0, 1, 2 ..., whatever seed params.yaml has
    KEY=VALUE     as of `python -m pipeline.train`: model=mlp, hydra/launcher=joblib ...

Trains the setting of params.yaml with each seed, evaluates each on the test set once, and shows
the mean, the standard deviation and the 95 % interval of the mean (Student's t), beside what
another test set of the same size would move. It writes them below seeds/, with a folder for each
seed, and into MLflow. The same command again trains only what is missing; a larger n adds seeds.

It chooses nothing, so it may look at the test set. What chooses is a sweep, by the validation set.

    python -m pipeline.seeds n=10
    python -m pipeline.seeds n=10 train.learning_rate=0.3
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from pipeline import evaluate
from pipeline.cli import app, arguments
from pipeline.data import arrays, description
from pipeline.errors import UserError
from pipeline.seeding.group import Group
from pipeline.settings.compose import load
from pipeline.settings.schema import Config

MOST = 1000


class Options(arguments.Options):
    """The key that is explained above; all others are of the configuration."""

    n: Annotated[int, Field(le=MOST)] = 10


def main(given: list[str]) -> int:
    """Train and test the seeds."""
    own = [item for item in given if item.partition("=")[0] in Options.model_fields]
    seeds = arguments.parse(Options, own).n
    if seeds < 2:
        raise UserError(f"n={seeds}: a deviation needs two seeds or more")
    others = [item for item in given if item not in own]
    refuse(others)
    config = load(others)
    arrays.split(config)
    arrays.load(config.paths.processed, "test", config.dataset)
    app.run_group(main, Group(seeds, given, test), others)
    return 0


def refuse(overrides: Sequence[str]) -> None:
    """Refuse what would not be a group of seeds."""
    for item in overrides:
        key = item.partition("=")[0].lstrip("+~")
        if item.startswith("-") or "=" not in item:
            raise UserError(f"{item} is not known: the arguments are n=N and KEY=VALUE")
        if key == "seed":
            raise UserError(f"{item}: the seeds are 0 to n - 1: leave it out")
        if key.startswith(("hydra/sweeper", "hydra.sweeper")):
            raise UserError(f"{item}: seeds are not searched: leave it out")


def test(config: Config) -> dict[str, float]:
    """Evaluate the weights of `paths.models` on the test set, as the evaluate stage does."""
    x, y = arrays.load(config.paths.processed, "test", config.dataset)
    shape = description.read(config.paths.processed, config.dataset).shape
    model = evaluate.trained(config, shape)
    return evaluate.write(config, y, evaluate.predictions_of(model, x, y))


if __name__ == "__main__":
    arguments.run(main)
