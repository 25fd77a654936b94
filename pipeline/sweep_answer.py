"""The answer of a sweep: its trials as a table, the figures, and the best of them."""

import csv
import time
from pathlib import Path

from pipeline import ranking
from pipeline.config import Sweep
from pipeline.files import replacing
from pipeline.history import text
from pipeline.tracking import Record
from pipeline.trial_file import Trial


def give(folder: Path, settings: Sweep, record: Record, ranked: list[Trial]) -> None:
    """Show and record the table, the figures and the best trial."""
    objective = settings.objective
    print(ranking.table(ranked, objective))
    for line in ranking.repeated(ranked, objective):
        print(line)
    files = [folder / "sweep.csv", *_figures(folder, ranked, objective)]
    runs = ["run", *(one.run_id for one in ranked)]
    rows = zip(ranking.rows(ranked, objective), runs, strict=True)
    with (
        replacing(files[0]) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([*row, run] for row, run in rows)
    record.send("files", paths=[str(path) for path in files])
    best, line = ranked[0], "no trial has finished"
    if best.status == "FINISHED" and objective in best.metrics:
        value = best.metrics[objective]
        record.send("tags", tags={"best_trial": str(best.number), "best_run_id": best.run_id})
        record.send("metrics", points=[({f"best_{objective}": value}, 0, time.time())])
        line = f"trial {best.number}, {best.name}: {objective} {text(objective, value)}"
        print(f"Best: {line}")
        print("`python -m pipeline.promote` makes its settings those of the pipeline.")
        line = f"the best is {line}"
    record.send("result", line="\n".join([line, ranking.reused(ranked)]))


def _figures(folder: Path, ranked: list[Trial], objective: str) -> list[Path]:
    finished = [one for one in ranked if one.status == "FINISHED" and objective in one.metrics]
    if not finished:
        return []
    from pipeline import sweep_figures

    paths = [folder / "objective.png", folder / "curves.png"]
    sweep_figures.objective(paths[0], finished, objective)
    sweep_figures.curves(paths[1], finished, objective)
    return paths
