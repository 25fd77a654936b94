"""The figures of a sweep: its objective against what was swept, and the curves of its trials."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from pipeline import history
from pipeline.figures import saved
from pipeline.trial_file import Trial

LOG_FROM = 10  # a parameter whose largest value is so many times its smallest has a log axis
TICKS = 8  # so many values of a parameter have a tick each
MOST_LETTERS = 40  # of a name
NAMED = 12  # curves that have a name in the legend
BEST: dict[str, Any] = {"s": 160, "facecolors": "none", "edgecolors": "C3", "linewidths": 1.5}


def values(trials: Sequence[Trial]) -> dict[str, list[str]]:
    """Return the values of each override, trial by trial, if they are not all the same."""
    each = [dict(item.lstrip("+").split("=", 1) for item in one.overrides) for one in trials]
    keys = dict.fromkeys(key for one in each for key in one)
    found = {key: [one.get(key, "") for one in each] for key in keys}
    return {key: column for key, column in found.items() if len(set(column)) > 1}


def objective(path: Path, trials: Sequence[Trial], name: str) -> None:
    """Draw the objective of the finished trials against each swept parameter."""
    swept = values(trials) or {"trial": [str(one.number) for one in trials]}
    with saved(path, max(4.0, 3.2 * len(swept)), 3.4) as figure:
        every = figure.subplots(1, len(swept), squeeze=False, sharey=True)[0]
        measured = [one.metrics[name] for one in trials]
        for axes, (key, column) in zip(every, swept.items(), strict=True):
            numbers = _numbers(column)
            if numbers:
                axes.scatter(numbers, measured)
                if min(numbers) > 0 and max(numbers) >= LOG_FROM * min(numbers):
                    axes.set_xscale("log")
                distinct = sorted(set(numbers))
                if len(distinct) <= TICKS:
                    axes.set_xticks(distinct, [f"{number:g}" for number in distinct])
                    axes.set_xticks([], minor=True)
            else:
                labels = list(dict.fromkeys(column))
                axes.scatter([labels.index(value) for value in column], measured)
                axes.set_xticks(range(len(labels)), map(_short, labels), rotation=30, ha="right")
                axes.margins(x=0.2)
            axes.scatter(axes.collections[0].get_offsets()[0, 0], measured[0], **BEST)
            axes.set(xlabel=key)
            axes.grid(alpha=0.3)
        every[0].set(ylabel=name)
        figure.suptitle(f"{name} of {len(trials)} trials, the best in a ring")


def curves(path: Path, trials: Sequence[Trial], name: str) -> None:
    """Draw the objective of every finished trial against the epoch, the best in front."""
    with saved(path, 7, 4) as figure:
        axes = figure.subplots()
        for place, one in reversed(list(enumerate(trials))):
            epochs = history.read(Path(one.repeats or one.folder) / "metrics/history.csv")
            points = [(row.epoch, row.metrics[name]) for row in epochs if name in row.metrics]
            label = f"{_short(one.name)} ({history.text(name, points[-1][1])})"
            axes.plot(
                *zip(*points, strict=True),
                color=f"C{place}" if place < NAMED else "0.8",
                label=label if place < NAMED else None,
                marker="o" if len(points) == 1 else "",
            )
        axes.set(xlabel="Epoch", ylabel=name, title=f"{name} against the epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(alpha=0.3)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8)


def _short(name: str) -> str:
    """Return a name that leaves room for the axes, without its middle if it is long."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS // 2]} ... {name[-10:]}"


def _numbers(column: Sequence[str]) -> list[float]:
    try:
        return [float(value) for value in column]
    except ValueError:
        return []
