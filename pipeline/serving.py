"""The model as MLflow serves it: flattened pixels in [0, 1] in, class probabilities out."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline import determinism


class Classifier:
    """Softmax probabilities of a trained model.

    Parameters
    ----------
    folder : Path
        Holds weights.npz, and model.json with `features`, `classes`, the model's name and options.
    """

    def __init__(self, folder: Path):
        if "tensorflow" not in sys.modules:
            determinism.enable(seed=0, keras=False)
        from pipeline import weights
        from pipeline.models import MODELS

        options = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        features, classes = options.pop("features"), options.pop("classes")
        self.model = MODELS[options.pop("name")](features, classes, 0, **options)
        weights.restore(self.model, folder / "weights.npz")

    def predict(
        self, pixels: ArrayLike, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Return probabilities, float32 (n, classes), for pixels (n, features)."""
        from pipeline.inference import probabilities

        return probabilities(self.model, np.asarray(pixels, np.float32))


def _load_pyfunc(path: str) -> Classifier:
    """Load what `results.log_model` logged; MLflow calls this by its name."""
    return Classifier(Path(path))
