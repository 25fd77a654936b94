"""What a sweep has found: a setting is judged by its mean over the seeds, not by its best."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from statsmodels.stats import proportion

from pipeline.trials import answer as answer_module
from pipeline.trials import figures, ranking, tables
from pipeline.trials.ranking import Answer
from pipeline.trials.spread import by_setting, planned_seeds, spread
from pipeline.trials.trial_file import Trial

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]  # hours, of Student's own example


def trial(number: int, rate: float, seed: int, value: float | None) -> Trial:
    return Trial(
        number,
        [f"train.learning_rate={rate}", f"seed={seed}"],
        "",
        "FAILED" if value is None else "FINISHED",
        metrics={} if value is None else {"val_accuracy": value, "val_loss": 1 - value},
        choices={"model": "mlp"},
        settings={"seed": seed, "train": {"learning_rate": rate}},
        name=f"learning_rate={rate} seed={seed}",
    )


def sweep(values: dict[float, list[float | None]]) -> list[Trial]:
    pairs = [(rate, seed, v) for rate, column in values.items() for seed, v in enumerate(column)]
    return [trial(number, *one) for number, one in enumerate(pairs)]


def answer(values: dict[float, list[float | None]], seeds: int = 0) -> Answer:
    return ranking.answer(sweep(values), "val_accuracy", "maximize", seeds)


def test_the_spread_is_students() -> None:
    found = spread(SLEEP)  # as R's t.test(extra ~ group, sleep, paired = TRUE) has it
    assert found == pytest.approx((1.58, 1.229995, 0.7001142, 2.4598858), abs=1e-6)
    low, high = stats.ttest_1samp(SLEEP, 0).confidence_interval(0.95)
    assert found[2:] == pytest.approx((low, high), rel=1e-12)
    assert spread([0.5]) == (0.5, None, None, None)
    assert spread([0.5, 0.5, 0.5]) == (0.5, 0, 0.5, 0.5)


def test_the_setting_with_the_best_mean_is_best_whatever_one_seed_gave() -> None:
    found = answer({0.1: [0.70, 0.99, 0.71], 0.2: [0.90, 0.91, 0.92], 0.3: [0.1, 0.2, 0.3]})
    assert [one.name for one in found.settings] == [
        "learning_rate=0.2",
        "learning_rate=0.1",
        "learning_rate=0.3",
    ]
    assert found.best is not None
    assert found.best.settings["train"] == {"learning_rate": 0.2}
    assert [one.number for one in found.trials] == [3, 4, 5, 0, 1, 2, 6, 7, 8]
    assert [row[0] for row in tables.trials(found)[1:]] == [1] * 3 + [2] * 3 + [3] * 3
    (header, first, *_) = tables.settings(found)
    low, high = stats.t.interval(0.95, 2, 0.91, stats.sem([0.90, 0.91, 0.92]))
    assert dict(zip(header, first, strict=True)) == {
        "rank": 1,
        "setting": "learning_rate=0.2",
        "seeds": 3,
        "of": 3,
        "val_accuracy_mean": pytest.approx(0.91),
        "deviation": pytest.approx(0.01),
        "interval_low": pytest.approx(low),
        "interval_high": pytest.approx(high),
    }


def test_a_setting_that_failed_with_a_seed_has_no_rank() -> None:
    found = answer({0.1: [0.99, None, 0.99], 0.2: [0.5, 0.5, 0.5], 0.3: [None, None, None]})
    rows = tables.settings(found)[1:]
    assert [row[:4] for row in rows] == [
        [1, "learning_rate=0.2", 3, 3],
        [None, "learning_rate=0.1", 2, 3],
        [None, "learning_rate=0.3", 0, 3],
    ]
    assert found.ranked == 1
    assert "nan" not in tables.aligned(tables.settings(found), "val_accuracy")
    none = answer({0.1: [0.9, None], 0.2: [None, 0.8]})
    assert none.best is None
    assert none.problem == "no setting has finished with all 2 seeds: run the sweep again"


@pytest.mark.parametrize("values", [[0.7, 0.8, 0.9], [0.7, None, 0.9]])
def test_of_seeds_none_is_best(values: list[float | None]) -> None:
    found = answer({0.1: values})
    assert (found.best, len(found.settings)) == (None, 1)
    assert "differ in the seed alone" in found.problem
    assert {row[0] for row in tables.trials(found)[1:]} == {None}


def test_a_sweep_that_ended_early_does_not_forget_its_other_seeds() -> None:
    trials = [["train.learning_rate=0.1", f"seed={seed}"] for seed in (0, 1, 1)]
    assert planned_seeds(trials) == 2
    assert planned_seeds([["train.epochs=1"]]) == 0
    assert answer({0.1: [0.9], 0.2: [0.8]}).best is not None
    assert answer({0.1: [0.9], 0.2: [0.8]}, seeds=2).best is None
    assert answer({0.1: [0.9, 0.8], 0.2: [0.95]}, seeds=2).settings[0].name == "learning_rate=0.1"


def test_settings_are_told_apart_by_what_they_are_not_by_their_words() -> None:
    spelt = [trial(0, 0.1, 0, 0.9), trial(1, 0.1, 1, 0.8), trial(2, 0.1, 1, 0.8)]
    spelt[1].overrides = ["train.learning_rate=1e-1", "+seed=1"]
    refused = Trial(3, ["train.learning_rate=0.1", "seed=-1"], "", "FAILED")
    (setting,) = by_setting([refused, *spelt])
    assert setting.values("val_accuracy") == {"0": 0.9, "1": 0.8}
    assert setting.seeds == 3


def test_nothing_that_was_not_measured_has_a_rank() -> None:
    found = ranking.answer(
        [Trial(0, [], "", "FINISHED", metrics={"loss": 1.0})], "val_accuracy", "maximize"
    )
    assert tables.trials(found)[1][0] is None
    assert found.problem == "no trial has val_accuracy: choose another with sweep.objective=..."


def measured(correct: list[int], held_out: int) -> list[Trial]:
    """Return finished trials that have so many of the held-out examples right."""
    return [
        Trial(
            number,
            [f"train.batch_size={number}"],
            f"multirun/x/{number}",
            "FINISHED",
            metrics={"val_accuracy": right / held_out, "val_loss": 1 - right / held_out},
            name=f"batch_size={number}",
            held_out=held_out,
        )
        for number, right in enumerate(correct)
    ]


def test_trials_that_the_best_does_not_beat_are_a_tie() -> None:
    trials = measured([4709, 4600, 4709, 4680, 4500], 5000)
    found = ranking.answer(trials, "val_accuracy", "maximize")
    for one in trials:  # as if they had been asked other examples: Newcombe, Altman
        low, high = proportion.confint_proportions_2indep(
            4709, 5000, one.correct, 5000, method="newcomb"
        )
        assert (one in found.ties) == (low <= 0 <= high and one is not found.best)
    assert [one.number for one in found.ties] == [2, 3]
    header, *rows = tables.trials(found)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["tie"] for row in table] == [None, "tie", "tie", None, None]
    low, high = stats.binomtest(4709, 5000).proportion_ci(0.95, "wilson")
    assert table[0]["interval_low"] == pytest.approx(low)
    assert table[0]["interval_high"] == pytest.approx(high)
    assert found.best is not None
    assert answer_module._said(found, found.best).splitlines() == [
        "trial 0, batch_size=0: val_accuracy 0.9418",
        "A tie with trials 2, 3: of 5,000 examples, such a difference may be chance. "
        "`python -m pipeline.compare multirun/x/0 multirun/x/2` looks at each example.",
    ]


def test_no_tie_is_claimed_where_nothing_was_counted(tmp_path: Path) -> None:
    trials = measured([30, 30], 40)
    assert ranking.answer(trials, "val_loss", "minimize").ties == []
    assert len(ranking.answer(trials, "val_accuracy", "maximize").ties) == 1
    trials[0].held_out = 0  # of an earlier version
    found = ranking.answer(trials, "val_accuracy", "maximize")
    assert found.ties == []
    assert tables.aligned(tables.trials(found)[:2], "val_accuracy").split() == [
        *("rank", "trial", "overrides", "val_accuracy", "val_loss", "status"),
        *("1", "0", "batch_size=0", "0.7500", "0.25", "FINISHED"),
    ]
    assert answer({0.1: [0.7, 0.8], 0.2: [0.7, 0.8]}).ties == []  # the seeds have an interval


def test_intervals_are_drawn_where_they_can_be_seen() -> None:
    values = {0.01: [0.7, 0.8, 0.9], 0.5: [0.4, 0.5, 0.9]}
    settings = answer({rate: list(column) for rate, column in values.items()}).settings
    figure = Figure()
    axes = figure.subplots()
    axes.set_xscale("log")
    figures._intervals(axes, [0.01, 0.5], settings, "val_accuracy")
    bars = [bar for one in axes.containers for bar in one[2]]
    drawn = [bar.get_segments()[0] for bar in bars]
    for place, column, segment in zip(values, values.values(), drawn, strict=True):
        low, high = stats.t.interval(0.95, 2, np.mean(column), stats.sem(column))
        np.testing.assert_allclose(segment, [[place, low], [place, high]])
        assert axes.get_ylim()[0] < low < high < axes.get_ylim()[1]
        assert axes.get_xlim()[0] < place < axes.get_xlim()[1]


def test_figures_of_settings_with_and_without_all_seeds(tmp_path: Path) -> None:
    found = answer({0.1: [0.7, 0.8], 0.2: [None, 0.9], 0.3: [None, None]})
    figures.objective(tmp_path / "objective.png", found)
    assert (tmp_path / "objective.png").stat().st_size > 5000
