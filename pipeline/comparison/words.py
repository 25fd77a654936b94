"""What a comparison has found, in words and tables."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.comparison import paired
from pipeline.comparison.paired import Estimate
from pipeline.comparison.result import Result

MOST = 8  # files of code that are named


def sentence(found: Result) -> str:
    """Return what follows, in one sentence."""
    counts, (_, _, accuracy) = found.counts, found.accuracies
    if (found.a.answers.predicted == found.b.answers.predicted).all():
        return "A and B give the same answer to every example."
    points = Estimate(*(100 * number for number in accuracy))
    if found.differ:
        return f"{better(*points)}."
    line = (
        f"The data do not tell them apart: B - A is {points.value:+.2f} points, "
        f"95 % interval {points.low:+.2f} to {points.high:+.2f}"
    )
    if accuracy.apart:
        line += f"; McNemar's exact test has p = {_p(counts.p)}, which is not below 0.05"
    if found.losses and (loss := found.losses[2]).apart:
        lower = "B" if loss.value < 0 else "A"
        line += f"; {lower}'s loss is lower, by {abs(loss.value):.4f}"
    return f"{line}."


def better(value: float, low: float, high: float) -> str:
    """Return which one is better, from B - A in points with its interval."""
    if value < 0:
        return f"A is better: {-value:.2f} points, 95 % interval {-high:.2f} to {-low:.2f}"
    return f"B is better: {value:.2f} points, 95 % interval {low:.2f} to {high:.2f}"


def report(found: Result) -> str:
    """Return the tables above the sentence."""
    counts = found.counts
    lines = [
        f"A  {found.a.title}",
        f"B  {found.b.title}",
        f"Both were asked the same {counts.examples:,} {found.of}.",
        "",
        *aligned(_scores(found)),
        "",
        f"Right by one alone: A {counts.only_a:,}, B {counts.only_b:,}; "
        f"McNemar's exact test: p = {_p(counts.p)}",
        *_classes(found),
        *settings(found.settings),
        *_code(found.code),
    ]
    return "\n".join(lines)


def _scores(found: Result) -> list[list[str]]:
    rows = [["", "A", "B", "B - A"], ["accuracy", *map(_shown, found.accuracies)]]
    rows[1][3] = _shown(found.accuracies[2], "+")
    if found.losses:
        rows.append(["loss", *map(_shown, found.losses[:2]), _shown(found.losses[2], "+")])
    else:
        rows.append(
            [
                "loss",
                *(
                    "known" if one.answers.losses is not None else "not known"
                    for one in (found.a, found.b)
                ),
                "",
            ]
        )
    return rows


def _classes(found: Result) -> list[str]:
    apart = [one for one in found.classes if one.p < paired.LEVEL]
    if not apart:
        return ["No class differs by more than chance (McNemar's test of each, Holm's correction)."]
    rows = [["class", "examples", "only A", "only B", "B - A", "p"]]
    for one in apart:
        rows.append(
            [
                found.name(one.number),
                f"{one.counts.examples:,}",
                f"{one.counts.only_a:,}",
                f"{one.counts.only_b:,}",
                _shown(one.counts.difference, "+"),
                _p(one.p),
            ]
        )
    title = "Classes that differ by more than chance (McNemar's test of each, Holm's correction):"
    return [title, *aligned(rows)]


def settings(differing: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return a table of settings with A's value and B's."""
    if not differing:
        return ["Their settings are the same."]
    rows = [[key, _value(a), _value(b)] for key, (a, b) in differing.items()]
    return ["", *aligned([["setting", "A", "B"], *rows])]


def _code(files: list[str]) -> list[str]:
    more = f" and {len(files) - MOST} more" if len(files) > MOST else ""
    return [f"Their code is not the same: {', '.join(files[:MOST])}{more}"] if files else []


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _shown(one: Estimate, sign: str = "") -> str:
    value, low, high = (f"{number:{sign}.4f}" for number in one)
    return f"{value} ({low} to {high})"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)
