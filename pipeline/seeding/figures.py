"""The figure of a group of seeds: how far the seed moves the result, and how far the test set."""

from pathlib import Path

from matplotlib.ticker import MaxNLocator

from pipeline.learning.history import text
from pipeline.report.figures import saved
from pipeline.seeding.results import Results

TICKS = 12  # up to so many seeds have a tick each


def seeds(path: Path, results: Results) -> None:
    """Draw the test accuracy of each seed twice: on its own scale, and on the test set's."""
    mean, _, low, high = results.spread("accuracy")
    error = results.sampling_error
    with saved(path, 9, 4) as figure:
        near, far = figure.subplots(1, 2)
        if low is not None and high is not None:
            said = f"95 % interval of the mean: {text('accuracy', low)} to {text('accuracy', high)}"
            near.axhspan(low, high, color="C0", alpha=0.15, lw=0, label=said)
        said = f"what another test set moves: ±{text('accuracy', error)}"
        far.axhspan(mean - error, mean + error, color="C1", alpha=0.15, lw=0, label=said)
        for axes, title in ((near, "What the seed moves"), (far, "Beside what the test set moves")):
            axes.scatter(list(results.scores), results.values("accuracy"), color="C0", zorder=3)
            axes.xaxis.set_major_locator(MaxNLocator(min(len(results.scores), TICKS), integer=True))
            axes.grid()
            axes.axhline(mean, color="C0", lw=1, label=f"mean {text('accuracy', mean)}")
            axes.set(xlabel="Seed", title=title)
            axes.set_ymargin(0.3)
            axes.legend(frameon=False, fontsize=8, loc="upper left")
        near.set_ylabel("Test accuracy")
