"""What a comparison has found, in words and tables."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.comparison import paired
from pipeline.comparison.paired import Estimate
from pipeline.comparison.result import Result
from pipeline.errors import listed
from pipeline.trials.tables import lines

MOST = 8  # files of code that are named
HEADER = ["", "A", "B", "B - A"]


def sentence(found: Result) -> str:
    """Return the conclusion, in one sentence."""
    if (found.a.answers.predicted == found.b.answers.predicted).all():
        return "A and B give the same answer to every example."
    difference = found.counts.difference
    points = difference.points
    if found.differ:
        return f"{better(points)}."
    line = (
        f"The data do not tell them apart: B - A is {points.value:+.2f} points, "
        f"95 % interval {points.low:+.2f} to {points.high:+.2f}"
    )
    if difference.apart:
        line += f"; McNemar's exact test has p = {_p(found.counts.p)}, which is not below 0.05"
    if "loss" in found.estimates and (loss := found.estimates["loss"][2]).apart:
        lower = "B" if loss.value < 0 else "A"
        line += f"; {lower}'s loss is lower, by {abs(loss.value):.4f}"
    return f"{line}."


def better(points: Estimate) -> str:
    """Return which one is better, from B - A in points."""
    value, low, high = points
    if value < 0:
        return f"A is better: {-value:.2f} points, 95 % interval {-high:.2f} to {-low:.2f}"
    return f"B is better: {value:.2f} points, 95 % interval {low:.2f} to {high:.2f}"


def report(found: Result) -> str:
    """Return the tables above the sentence."""
    counts = found.counts
    scores = [HEADER, *(row(name, *three) for name, three in found.estimates.items())]
    if "loss" not in found.estimates:
        losses = (one.answers.losses for one in (found.a, found.b))
        scores.append(["loss", *("not known" if one is None else "known" for one in losses), ""])
    code = f"Their code is not the same: {listed(found.code, MOST)}"
    parts = [
        f"A  {found.a.title}",
        f"B  {found.b.title}",
        f"Both were asked the same {counts.examples:,} {found.of}.",
        "",
        *lines(scores),
        "",
        f"Right by one alone: A {counts.only_a:,}, B {counts.only_b:,}; "
        f"McNemar's exact test: p = {_p(counts.p)}",
        *_classes(found),
        *settings(found.settings),
        *([code] if found.code else []),
    ]
    return "\n".join(parts)


def row(name: str, a: Estimate, b: Estimate, difference: Estimate) -> list[str]:
    """Return a row below HEADER."""
    return [name, _shown(a), _shown(b), _shown(difference, "+")]


def settings(differing: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a table of settings with A's value and B's."""
    if not differing:
        return ["Their settings are the same."]
    rows = [[key, *map(_value, both.values())] for key, both in differing.items()]
    return ["", *lines([["setting", "A", "B"], *rows])]


def _classes(found: Result) -> list[str]:
    rows = [
        [
            found.name(one.number),
            f"{one.counts.examples:,}",
            f"{one.counts.only_a:,}",
            f"{one.counts.only_b:,}",
            _shown(one.counts.difference, "+"),
            _p(one.p),
        ]
        for one in found.classes
        if one.p < paired.LEVEL
    ]
    how = "by more than chance (McNemar's test of each, Holm's correction)"
    if not rows:
        return [f"No class differs {how}."]
    header = ["class", "examples", "only A", "only B", "B - A", "p"]
    return [f"Classes that differ {how}:", *lines([header, *rows])]


def _shown(one: Estimate, sign: str = "") -> str:
    value, low, high = (f"{number:{sign}.4f}" for number in one)
    return f"{value} ({low} to {high})"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)
