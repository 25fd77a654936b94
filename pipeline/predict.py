"""Predict: what the trained model says of files that you have.

    python -m pipeline.predict FILE... [fit=true] [json=true] [out=predictions]

    FILE      a PNG or JPEG image; a .npy array of one example or of several, as the data set's raw
              files hold them; a CSV or Parquet table in the form of the data set's own
    fit=true  for a drawn or photographed digit: cuts it out, scales and centres it as MNIST's were,
              light on dark, and writes what the model saw as a picture into the folder `out`
    json=true prints JSON, with the probability of every class

The model is that of models/, as params.yaml has it. A line for each example tells the class, its
probability, and the runner-up with its own; NAME.npy:3 is the fourth example of a file, as they are
counted from 0. For example:

    python -m pipeline.predict seven.png fit=true
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import evaluate
from pipeline.cli import arguments
from pipeline.data import description
from pipeline.data.description import Description
from pipeline.data.given import as_trained
from pipeline.errors import UserError
from pipeline.files import reading, replacing, shown
from pipeline.predicting import asked, drawing
from pipeline.settings.compose import load
from pipeline.settings.schema import Config
from pipeline.verification import unchanged

WEIGHTS = Path("models/weights.npz")
ENLARGED = 8  # times, in the picture of what the model saw
LOOKED_AT = 256  # training images, to know their background


class Options(arguments.Options):
    """The keys that are explained above."""

    fit: bool = False
    json_: bool = Field(default=False, alias="json")
    out: Annotated[str, Field(min_length=1)] = "predictions"


def main(given: list[str]) -> int:
    """Print what the model says of each file, or of none if one of them is wrong."""
    keys = [one for one in given if "=" in one and not Path(one).exists()]
    options = arguments.parse(Options, keys)
    paths = [Path(one) for one in given if one not in keys]
    if not paths:
        raise UserError("FILE is needed: an image, an array or a table; see --help")
    config = load()
    described = description.read(config.paths.processed, config.dataset)
    paper = background(config, described)
    files = [
        asked.read(path, described, config.dataset, fit=options.fit, paper=paper) for path in paths
    ]
    answer = unchanged.ask("train")  # while TensorFlow is imported
    model = evaluate.trained(config, described.shape)
    if what := answer():
        print(
            f"predict: {what} since `dvc repro` trained: these answers are of {WEIGHTS} as it is",
            file=sys.stderr,
        )
    from pipeline.learning.inference import probabilities

    answers: list[dict[str, Any]] = []
    for path, examples in zip(paths, files, strict=True):
        try:
            x = as_trained(examples, described, exact=model.exact)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        answers += of_file(path, probabilities(model, x), described.classes)
    print(json.dumps(answers, indent=2) if options.json_ else "\n".join(map(line, answers)))
    if options.fit:
        for path, pixels in zip(paths, files, strict=True):
            show(pixels[0].reshape(described.shape[:2]), Path(options.out) / f"{path.stem}.png")
    return 0


def background(config: Config, described: Description) -> float | None:
    """Return how light the edge of the training images is, 0 to 255, if they are grey."""
    if len(described.shape) != 2 or described.scale.kind != "bytes":
        return None
    with reading(config.paths.processed / "x_train.npy", "preprocess") as path:
        return drawing.paper(described.unscaled(np.load(path, mmap_mode="r")[:LOOKED_AT]))


def of_file(
    path: Path, probabilities: NDArray[np.float32], classes: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield the answer for each example of a file."""
    for number, one in enumerate(probabilities):
        first, second = np.argsort(-one, kind="stable")[:2]
        yield {
            "name": f"{path}:{number}" if len(probabilities) > 1 else str(path),
            "class": classes[first],
            "probability": float(one[first]),
            "runner_up": classes[second],
            "runner_up_probability": float(one[second]),
            "probabilities": dict(zip(classes, one.tolist(), strict=True)),
        }


def line(answer: dict[str, Any]) -> str:
    """Return an answer in a line."""
    first, second = "{class} {probability:.6f}", "{runner_up} {runner_up_probability:.6f}"
    return f"{{name}}  {first}  then {second}".format(**answer)


def show(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write what the model saw of an image as a picture, enlarged."""
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1)).save(temporary, "PNG")
    print(f"What the model saw is in {shown(path)}")


if __name__ == "__main__":
    arguments.run(main)
