"""The figures of a sweep: its objective against what was swept, and the curves of its trials.

A sweep over seeds has the means of its settings, each with its 95 % interval.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from pipeline.learning import history
from pipeline.report.figures import saved
from pipeline.trials.ranking import Answer
from pipeline.trials.spread import Setting, spread
from pipeline.trials.trial_file import Trial

LOG_FROM = 10  # the axis is logarithmic if the largest value is so many times the smallest
TICKS = 8  # up to so many values of a parameter have a tick each
MOST_LETTERS = 40  # of a name
NAMED = 12  # curves that have a name in the legend
BANDS = 3  # settings that have their interval drawn around their curve
APART = 7  # points between settings that share a value of a parameter
BEST: dict[str, Any] = {"s": 160, "facecolors": "none", "edgecolors": "C3", "linewidths": 1.5}
MEAN: dict[str, Any] = {"fmt": "o", "color": "C0", "capsize": 3}
SEED: dict[str, Any] = {"color": "0.6", "s": 12, "zorder": 1}


def values(trials: Sequence[Trial]) -> dict[str, list[str]]:
    """Return the values that each override has, trial by trial, unless they are all the same."""
    each = [dict(item.lstrip("+").split("=", 1) for item in one.overrides) for one in trials]
    keys = dict.fromkeys(key for one in each for key in one)
    found = {key: [one.get(key, "") for one in each] for key in keys}
    return {key: column for key, column in found.items() if len(set(column)) > 1}


def objective(path: Path, found: Answer) -> None:
    """Draw the objective of what was measured against each swept parameter."""
    name = found.objective
    settings = [one for one in found.settings if one.values(name)]
    several = found.over_seeds and not found.of_seeds
    shown = settings[0].measured(name) if found.of_seeds else [one.trials[0] for one in settings]
    swept = values(shown)
    if several:
        swept.pop("seed", None)
        title = f"{name}, mean and 95 % interval\nover {found.seeds} seeds"
    elif found.of_seeds:
        swept = {key: column for key, column in swept.items() if key == "seed"}
        title = f"{name} of {len(shown)} seeds"
    else:
        title = f"{name} of {len(shown)} trials"
    swept = swept or {"trial": [str(one.number) for one in shown]}
    with saved(path, max(4.2, 3.2 * len(swept)), 3.6) as figure:
        every = figure.subplots(1, len(swept), squeeze=False, sharey=True)[0]
        for axes, (key, column) in zip(every, swept.items(), strict=True):
            places = _places(axes, column)
            if several:
                _intervals(axes, places, settings, name)
            else:
                axes.scatter(places, [one.metrics[name] for one in shown], zorder=3)
            if found.of_seeds:
                _band(axes, settings[0], name)
            elif found.best and not several:
                axes.scatter(places[0], found.best.metrics[name], **BEST)
                if interval := found.best.interval(name):
                    axes.axhspan(*interval, color="C3", alpha=0.1, lw=0)
            axes.set(xlabel=key)
            axes.grid()
        every[0].set(ylabel=name)
        if found.best:
            title += ", the best in a ring"
            if not several and found.best.interval(name):
                title += "\nand its 95 % interval shaded"
        figure.suptitle(title)


def _places(axes: Axes, column: Sequence[str]) -> list[float]:
    """Return where the values of a parameter stand on the axis, and mark them there."""
    numbers = _numbers(column)
    if not numbers:
        labels = list(dict.fromkeys(column))
        axes.set_xticks(range(len(labels)), map(_short, labels), rotation=30, ha="right")
        axes.margins(x=0.2)
        return [float(labels.index(value)) for value in column]
    if min(numbers) > 0 and max(numbers) >= LOG_FROM * min(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    distinct = sorted(set(numbers))
    if len(distinct) <= TICKS:
        axes.set_xticks(distinct, [f"{number:g}" for number in distinct])
        axes.set_xticks([], minor=True)
    axes.margins(x=0.15)
    return numbers


def _intervals(axes: Axes, places: Sequence[float], settings: Sequence[Setting], name: str) -> None:
    """Draw the mean and interval of each setting, and its trials, beside others at its place."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    drawn = []
    for place, one in zip(places, settings, strict=True):
        seeds = list(one.values(name).values())
        mean, _, low, high = spread(seeds)
        error = (0 if low is None else mean - low, 0 if high is None else high - mean)
        drawn.append((place, seeds, mean, error))
    points = [
        (place, value)
        for place, seeds, mean, (below, above) in drawn
        for value in (*seeds, mean - below, mean + above)
    ]
    axes.scatter(*np.transpose(points), alpha=0)
    axes.autoscale_view()
    axes.autoscale(enable=False)  # what is moved aside would be taken for data elsewhere
    for number, (place, seeds, mean, error) in enumerate(drawn):
        same = [k for k, other in enumerate(places) if other == place]
        right = APART * (same.index(number) - (len(same) - 1) / 2) / 72  # inches
        moved = axes.transData + ScaledTranslation(right, 0, figure.dpi_scale_trans)
        axes.scatter([place] * len(seeds), seeds, transform=moved, **SEED)
        axes.errorbar([place], [mean], [[end] for end in error], transform=moved, **MEAN)
        if number == 0:
            axes.scatter([place], [mean], transform=moved, **BEST)


def _band(axes: Axes, setting: Setting, name: str) -> None:
    mean, _, low, high = spread(list(setting.values(name).values()))
    axes.axhline(mean, color="C0", label=f"mean {history.text(name, mean)}")
    if low is not None and high is not None:
        interval = f"95 %: {history.text(name, low)} to {history.text(name, high)}"
        axes.axhspan(low, high, color="C0", alpha=0.15, lw=0, label=interval)
    axes.legend(frameon=False, fontsize=8)


def curves(path: Path, found: Answer) -> None:
    """Draw the objective against the epoch, of each trial or setting, the best in front."""
    name = found.objective
    every = [(one.name, one.measured(name)) for one in found.settings]
    lines = [(title, trials) for title, trials in every if trials]
    with saved(path, 7, 4) as figure:
        axes = figure.subplots()
        for place, (title, trials) in reversed(list(enumerate(lines))):
            color = f"C{place}" if place < NAMED else "0.8"
            histories = [_curve(one, name) for one in trials]
            epochs = [epoch for epoch, _ in min(histories, key=len)]
            rows = zip(*([value for _, value in one] for one in histories), strict=False)
            spreads = [spread(row) for row in rows]
            means = [one.mean for one in spreads]
            named = f"{_short(title) or 'mean'} ({history.text(name, means[-1])})"
            label = named if place < NAMED else None
            marker = "o" if len(epochs) == 1 else ""
            axes.plot(epochs, means, color=color, label=label, marker=marker)
            if len(trials) > 1 and place < BANDS:
                lows = [one.interval_low for one in spreads]
                highs = [one.interval_high for one in spreads]
                axes.fill_between(epochs, lows, highs, color=color, alpha=0.2, lw=0)  # type: ignore[arg-type]
        over = f", mean over {found.seeds} seeds\nbands: 95 % interval" if found.over_seeds else ""
        axes.set(xlabel="Epoch", ylabel=name, title=f"{name} against the epoch{over}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid()
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8)


def _curve(trial: Trial, name: str) -> list[tuple[int, float]]:
    rows = history.read(Path(trial.repeats or trial.folder) / "metrics/history.csv")
    return [(row.epoch, row.metrics[name]) for row in rows if name in row.metrics]


def _short(name: str) -> str:
    """Return a name that leaves room for the axes, without its middle if it is long."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS // 2]} ... {name[-10:]}"


def _numbers(column: Sequence[str]) -> list[float]:
    try:
        return [float(value) for value in column]
    except ValueError:
        return []
