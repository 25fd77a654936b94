"""The answer of a sweep: it is printed, written into the sweep's folder, and logged to MLflow."""

import re
from pathlib import Path

from pipeline.errors import UserError, listed
from pipeline.files import write_csv
from pipeline.learning.history import text
from pipeline.tracking.run import Run
from pipeline.trials import promotion, tables
from pipeline.trials.ranking import Answer
from pipeline.trials.spread import Setting, spread
from pipeline.trials.trial_file import Trial

MOST_NOTE = 4000  # characters: MLflow takes 5000, and the description has more than this
MOST_TIES = 10  # so many are named
MOST_NAME = 200  # characters of a setting's name: the name of a metric may have 250


def give(found: Answer, folder: Path, run: Run, unfinished: str) -> None:
    """Print and record the tables, the figures, what is best, and what the sweep still lacks."""
    rows = tables.trials(found)
    print(tables.aligned(rows, found.objective))
    runs = ["run", *(one.run_id for one in found.trials)]
    files = [folder / "sweep.csv"]
    write_csv(files[0], [[*row, run] for row, run in zip(rows, runs, strict=True)])
    if found.over_seeds:
        files.append(folder / "seeds.csv")
        settings = tables.settings(found)
        write_csv(files[1], settings)
        if not found.of_seeds:
            print(tables.aligned(settings, found.objective).removeprefix("\n"))
        if not found.of_seeds and len(found.settings) != found.ranked:
            print(f"A setting has a rank if it has finished with all {found.seeds} seeds.")
    measured = sum(one.has(found.objective) for one in found.trials)
    if measured:
        from pipeline.trials import figures

        files += [folder / "objective.png", folder / "curves.png"]
        figures.objective(files[-2], found)
        figures.curves(files[-1], found)
    run.files(files)
    run.metrics(_metrics(found), measured)
    if found.best:
        of_trial = {"best_trial": str(found.best.number), "best_run_id": found.best.run_id}
        run.tags({"best_setting": found.settings[0].name} if found.over_seeds else of_trial)
        line = _said(found, found.best)
        print(f"Best: {line}\n{_promise(found, found.best)}")
        line = f"the best is {line}"
    else:
        print(line := _none(found))
    if unfinished:
        print(unfinished)
    lines = [line, unfinished, _done_before(found.trials)]
    run.result("\n".join(one for one in lines if one))


def _none(found: Answer) -> str:
    """Return why nothing is best; a sweep over seeds alone has a mean and an interval as well."""
    why = f"None is best: {found.problem}."
    values = list(found.settings[0].values(found.objective).values()) if found.of_seeds else []
    if len(values) < 2:
        return why
    name = f"{found.settings[0].name}: " if found.settings[0].name else ""
    of = f" of {found.seeds}" if len(values) < found.seeds else ""
    mean, deviation, low, high = (text(found.objective, v) for v in spread(values) if v is not None)
    return (
        f"{name}{len(values)}{of} seeds: {found.objective} {mean}, standard deviation {deviation}, "
        f"95 % interval of the mean {low} to {high}\n{why}"
    )


def _said(found: Answer, best: Trial) -> str:
    """Return the best trial or setting with its value, and by how much it is ahead of the next."""
    name = found.objective
    if not found.over_seeds:
        line = f"trial {best.number}, {best.name}: {name} {text(name, best.metrics[name])}"
        return "\n".join([line, *_ties(found, best)])
    first, *others = found.settings[: found.ranked]
    mean = spread(list(first.values(name).values())).mean
    line = f"{first.name}: {name} {text(name, mean)}, mean of {found.seeds} seeds"
    return "\n".join([line, *(_lead(first, second, name) for second in others[:1])])


def _ties(found: Answer, best: Trial) -> list[str]:
    """Return which trials the best does not beat, and how to look closer."""
    if not (ties := found.ties):
        return []
    numbers = listed([str(one.number) for one in ties], MOST_TIES)
    return [
        f"A tie with trial{'s' if len(ties) > 1 else ''} {numbers}: "
        f"of {best.held_out:,} examples, such a difference may be chance. "
        f"`python -m pipeline.compare {best.folder} {ties[0].folder}` looks at each example."
    ]


def _promise(found: Answer, best: Trial) -> str:
    """Return a sentence that `promote` can take the best over, or why it cannot."""
    try:
        promotion.plan(best, with_seed=found.seeds == 1)
    except UserError as error:
        return f"`python -m pipeline.promote` cannot make it that of the pipeline: {error}"
    own = ", with the seed of params.yaml" if found.seeds > 1 else ""
    return f"`python -m pipeline.promote` makes its settings those of the pipeline{own}."


def _lead(first: Setting, second: Setting, name: str) -> str:
    """Return by how much a setting differs from another on the same seeds."""
    ours, theirs = first.values(name), second.values(name)
    if ours.keys() != theirs.keys():
        return f"Next: {second.name}, on other seeds"
    mean, _, low, high = spread([ours[seed] - theirs[seed] for seed in ours])
    return (
        f"Next: {second.name}; the best differs from it by {mean:+.5f}, "
        f"95 % interval, seed by seed, {low:+.5f} to {high:+.5f}"
    )


def _metrics(found: Answer) -> dict[str, float]:
    """Return the numbers for the sweep's run: the best one, and the spread of each setting."""
    name = found.objective
    numbers: dict[str, float] = {}
    for one in found.settings if found.over_seeds else ():
        if values := list(one.values(name).values()):
            within = re.sub(r"[^\w.\- :]", "_", one.name.replace("=", ":"))[:MOST_NAME]
            suffix = f"/{within}" if within and not found.of_seeds else ""
            for key, value in spread(values)._asdict().items():
                if value is not None:
                    numbers[f"{name}_{key}{suffix}"] = value
            numbers[f"seeds{suffix}"] = len(values)
    if found.best:
        values = list(found.settings[0].values(name).values())
        numbers[f"best_{name}"] = spread(values).mean
    return numbers


def _done_before(trials: list[Trial]) -> str:
    """Return a Markdown list of the trials that other sweeps have run, empty without any.

    Their MLflow runs are not below that of this sweep. The list has no empty line, which would end
    the paragraph of the result.
    """
    lines = [f"- {one.name}: [{one.run_id}](#/runs/{one.run_id})" for one in trials if one.repeats]
    title = "Trials that were done before, in other sweeps (sweep.csv has all runs):"
    return "\n".join([title, *lines])[:MOST_NOTE] if lines else ""
