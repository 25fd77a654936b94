"""The trials of a sweep in order, as a table, and the spread over seeds."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

from pipeline.history import text
from pipeline.trial_file import Trial

MOST_NOTE = 4000  # characters; MLflow takes 5000 with the rest of the description
METRICS = ("val_accuracy", "val_loss")  # and the objective, if it is another


def rank(trials: Sequence[Trial], objective: str, direction: str) -> list[Trial]:
    """Return finished trials, the best first, then the others; of equal ones the lower val_loss."""
    sign = -1 if direction == "maximize" else 1

    def key(trial: Trial) -> tuple[bool, float, float, int]:
        if trial.status != "FINISHED" or objective not in trial.metrics:
            return True, 0.0, 0.0, trial.number
        value, loss = trial.metrics[objective], trial.metrics.get("val_loss", math.inf)
        return False, sign * value, loss, trial.number

    return sorted(trials, key=key)


def rows(ranked: Sequence[Trial], objective: str) -> list[list[str]]:
    """Return the table's header and its rows; only finished trials have a rank."""
    metrics = METRICS if objective in METRICS else (objective, *METRICS)
    found = [["rank", "trial", "overrides", *metrics, "seconds", "status"]]
    for place, trial in enumerate(ranked, start=1):
        shown = {name: text(name, value) for name, value in trial.metrics.items()}
        found.append(
            [
                str(place) if trial.status == "FINISHED" else "",
                str(trial.number),
                trial.name,
                *(shown.get(name, "") for name in metrics),
                "" if trial.seconds is None else f"{trial.seconds:.1f}",
                trial.status,
            ]
        )
    return found


def table(ranked: Sequence[Trial], objective: str) -> str:
    """Return the rows as text with aligned columns."""
    found = rows(ranked, objective)
    widths = [max(map(len, column)) for column in zip(*found, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in found]
    return "\n".join(["", *lines, ""])


def reused(ranked: Sequence[Trial]) -> str:
    """Return a Markdown list of the trials that other sweeps have run, empty without any.

    Their MLflow runs are not below this sweep's. An empty line would end the result's paragraph.
    """
    lines = [f"- {one.name}: [{one.run_id}](#/runs/{one.run_id})" for one in ranked if one.repeats]
    title = "Trials that were done before, in other sweeps (sweep.csv has all runs):"
    return "\n".join([title, *lines])[:MOST_NOTE] if lines else ""


def repeated(ranked: Sequence[Trial], objective: str) -> list[str]:
    """Return a line for each setting that was trained with several seeds: the objective's spread.

    The 95 % interval is of the mean: mean +- t s / sqrt(n), with Student's t for n - 1 degrees of
    freedom (Student, The Probable Error of a Mean, 1908), which takes the seeds as a random sample.
    """
    groups: dict[str, dict[str, float]] = defaultdict(dict)  # by fingerprint: each seed once
    for trial in ranked:
        if trial.status == "FINISHED" and objective in trial.metrics:
            name = trial.name.split()
            rest = [item for item in name if not item.startswith("seed=")]
            if rest != name:
                groups[" ".join(rest)][trial.fingerprint] = trial.metrics[objective]
    return [
        _spread(name, list(values.values()), objective)
        for name, values in groups.items()
        if len(values) > 1
    ]


def _spread(name: str, values: list[float], objective: str) -> str:
    from scipy import stats

    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    said = [text(objective, value) for value in (mean, deviation, mean - half, mean + half)]
    return (
        f"{name + ': ' if name else ''}{len(values)} seeds: {objective} {said[0]}, standard "
        f"deviation {said[1]}, 95 % interval of the mean {said[2]} to {said[3]}"
    )
