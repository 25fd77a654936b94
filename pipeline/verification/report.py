"""The results of a reproduction beside the expected ones, and where and why they differ."""

from pipeline.verification import lock, machine
from pipeline.verification.compare import compare, divergence, within
from pipeline.verification.lock import Out, Stages
from pipeline.verification.reproduction import Reproduction

HISTORY = "metrics/history.csv"
MOST_NAMED = 8  # packages of another version
DIGITS = 12  # of the hashes that the table shows; all are compared
SAME, OTHER, NOT_MADE = "same", "NOT THE SAME", "NOT MADE"
NO_CAUSE = (
    "none is known: code, parameters and versions are those of dvc.lock. Either the results were "
    "not made from these inputs, or this machine computes other bits"
)


class Report:
    """A comparison of the results of a reproduction with the expected outs.

    Attributes
    ----------
    identical : bool
        Whether all results have the expected bytes, and all inputs are those of dvc.lock.
    good : bool
        The same, but results may also be equal within the tolerance.
    """

    def __init__(
        self,
        reproduction: Reproduction,
        expected: Stages,
        outs: list[Out],
        tolerance: float | None,
        failure: str,
    ):
        self._reproduction, self._project = reproduction, reproduction.project
        self._tolerance, self._failure = tolerance, failure
        path = self._project / lock.NAME
        stages: Stages = lock.read(path) if path.exists() else {}
        self._got = {out.path: out.md5 for out in lock.outs(stages)}
        known = {out.path for out in outs}
        more = [out._replace(md5="") for out in lock.outs(stages) if out.path not in known]
        self._verdicts = {out: self._verdict(out) for out in outs + more}
        self._changes = lock.changes(expected, stages)
        self._other = [out for out, verdict in self._verdicts.items() if verdict != SAME]
        self._bad = [out for out in self._other if self._verdicts[out] in (OTHER, NOT_MADE)]
        made = [*lock.outs(expected), *more]
        self._edited = [out.path for out in self._other if out not in made]
        self.identical = not (self._other or self._changes or failure)
        self.good = not (self._bad or self._changes or failure)

    def __str__(self) -> str:
        """Return the table, the first difference, its likely causes, and the conclusion."""
        parts = [self._table()]
        # if the run failed, that is the reason why results are missing
        different = [out for out in self._other if self._got.get(out.path) or not self._failure]
        if different:
            parts.append(self._first_difference(different))
        if self._failure:
            parts.append(self._failure)
        if causes := self._causes() or ([NO_CAUSE] if different else []):
            title = "Likely cause" if self._other else "Yet there is a difference"
            parts.append("\n  ".join([title, *causes]))
        return "\n\n".join([*parts, self._conclusion()])

    def _verdict(self, out: Out) -> str:
        got = self._got.get(out.path)
        if not got:
            return NOT_MADE
        if got == out.md5:
            return SAME
        if self._tolerance and (source := self._reproduction.find(out)):
            difference = compare(source, self._project / out.path, out.path)
            if within(difference, self._tolerance, out.path):
                return f"equal within {self._tolerance:g}"
        return OTHER

    def _table(self) -> str:
        rows = [("artefact", "expected MD5", "got", "")]
        for out, verdict in self._verdicts.items():
            got = self._got.get(out.path, "")
            rows.append((out.path, out.md5[:DIGITS] or "-", got[:DIGITS] or "-", verdict))
        width = max(len(row[0]) for row in rows)
        lines = [f"{name:{width}}  {e:{DIGITS}}  {g:{DIGITS}}  {v}" for name, e, g, v in rows]
        return "\n".join(line.rstrip() for line in lines)

    def _first_difference(self, different: list[Out]) -> str:
        stage = different[0].stage
        lines = [f"First difference: stage {stage}"]
        lines += [f"  {out.path}: {self._where(out)}" for out in different if out.stage == stage]
        for out in different:
            if out.path == HISTORY and self._got.get(HISTORY):
                source = self._reproduction.find(out)
                epoch = divergence(source, self._project / out.path) if source else None
                lines += [f"  The two trainings part in epoch {epoch}."] if epoch else []
        return "\n".join(lines)

    def _where(self, out: Out) -> str:
        if not self._got.get(out.path):
            return "was not made"
        if not out.md5:
            return "is not in dvc.lock"
        if not (source := self._reproduction.find(out)):
            return (
                f"the expected file (MD5 {out.md5}) is not in git, the workspace or DVC's cache: "
                "only its hash could be compared"
            )
        difference = compare(source, self._project / out.path, out.path)
        return str(difference or "all values are the same, but not the bytes that hold them")

    def _causes(self) -> list[str]:
        unlike = machine.unlike(self._project / "requirements.txt")
        if len(unlike) > MOST_NAMED:
            unlike[MOST_NAMED:] = [f"and {len(unlike) - MOST_NAMED} more"]
        edited = [f"{path} is modified since `dvc repro`" for path in self._edited]
        return [*edited, *self._changes, *filter(None, [", ".join(unlike)])]

    def _conclusion(self) -> str:
        total, other, bad = len(self._verdicts), len(self._other), len(self._bad)
        if self._failure:
            return "Not reproduced: it ended with an error."
        if bad:
            return f"Not reproduced: {bad} of {total} results are not the same."
        if other:
            text = f"Equal within {self._tolerance:g}: {other} of {total} results; "
            text += "the others are the same bits."
        else:
            several = f"All {total} results are" if total > 1 else "The result is"
            text = f"{several} identical, bit for bit."
        if self._changes:
            text += "\nBut dvc.lock names other inputs: run `dvc repro`, then commit dvc.lock."
        return text
