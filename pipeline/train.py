"""Train: fits the configured model to the training set; MLflow shows each epoch as it ends.

The default is the tutorial's softmax regression: flattened pixels, mini-batches, cross-entropy,
GradientTape, SGD. The loop over epochs and batches is in pipeline/learning/training.py. The test
set is not touched.
"""

import logging

from pipeline.cli import app
from pipeline.data import arrays
from pipeline.learning.bar import Bar
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.learner import Learner
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from pipeline.tracking.run import recorded

log = logging.getLogger(__name__)


def main(config: Config, inputs: Inputs) -> None:
    """Train the configured model and write weights.npz and history.csv."""
    split = arrays.split(config)
    checkpoint = Checkpoint(config, config.paths.output)
    with recorded(config, checkpoint) as run:
        learner = Learner(config, split, checkpoint)
        run.epochs(learner.epochs)  # those from before an interruption
        with Bar(len(learner.epochs), config.train.epochs) as bar:
            learner.fit([lambda epoch: run.epochs([epoch]), bar.show])
        if (kept := learner.kept.epoch) < len(learner.epochs):
            objective = config.sweep.objective
            log.info("%s is best in epoch %d: its weights are kept", objective, kept)
        inputs.check()
        learner.save()
        run.training(config)
    checkpoint.remove()


if __name__ == "__main__":
    app.run(main, sweeps=True)
