"""Verify: reproduce the pipeline from nothing, and compare every result with the committed one.

`python -m pipeline.verify` clones the last commit into a temporary folder, runs every stage there
with an empty cache and an MLflow store of its own, and compares what comes out with the commit's
dvc.lock. Raw files that lie here are copied if they are right, and fetched otherwise. Nothing here
is changed.

    rev=HEAD~3        takes another revision
    workspace=true    takes the code and results that lie here, uncommitted changes included
    stage=train       runs one stage; what it reads comes from the workspace or DVC's cache
    threads=2         uses 2 cores, and 2 of TensorFlow's threads
    repeat=3          reproduces 3 times
    tolerance=1e-6    lets values differ by 1e-6, and pixels of a picture by two levels of 255
    keep=true         keeps the temporary folder
    record=true       writes this machine into docs/made_on.json, if every result is identical

The exit code is 0 if every result is identical, and the inputs are those that dvc.lock names. With
a tolerance, it is also 0 if every result is equal within it. Otherwise it is 1.
"""

import os
import shutil
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline import git
from pipeline.cli import arguments
from pipeline.errors import UserError
from pipeline.verification import lock, machine
from pipeline.verification.report import Report
from pipeline.verification.reproduction import Reproduction, md5


class Options(arguments.Options):
    """The keys that are explained above."""

    rev: Annotated[str, Field(min_length=1)] = "HEAD"
    workspace: bool = False
    stage: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    repeat: Annotated[int, Field(ge=1)] = 1
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    keep: bool = False
    record: bool = False

    @model_validator(mode="after")
    def _refuse_keys_that_exclude_each_other(self) -> Self:
        revised = "rev" in self.model_fields_set
        if self.workspace and revised:
            raise UserError(
                "rev and workspace exclude each other: one is a commit, the other is not"
            )
        if self.record and (self.tolerance or self.stage or revised):
            raise UserError(
                "record goes with neither rev, stage nor tolerance: it says that all bits of the "
                "results here come out of this machine"
            )
        return self


def main(given: list[str]) -> int:
    """Reproduce and compare as often as asked; return the exit code."""
    options = arguments.parse(Options, given)
    if not Path("dvc.yaml").exists():
        raise UserError(f"dvc.yaml: not found in {Path.cwd()}: run from the project's root")
    commit = git.revision(options.rev)
    if options.threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    print(f"Verifying {scope(options, commit)}")
    good = True
    for number in range(1, options.repeat + 1):
        if options.repeat > 1:
            print(f"\nReproduction {number} of {options.repeat}")
        good &= verify(options, commit)
    return 0 if good else 1


def scope(options: Options, commit: str) -> str:
    """Return what is verified, and what is not."""
    if options.workspace:
        return "the workspace as it is, uncommitted changes included"
    text = f"{options.rev} ({git.run('log', '-1', '--format=%h %s', commit).strip()})"
    changed = git.run("status", "--porcelain", "--", ".").splitlines()
    if changed and options.rev == "HEAD":
        text += f"\nNot verified: uncommitted changes ({len(changed)}), which workspace=true is for"
    return text


def verify(options: Options, commit: str) -> bool:
    """Reproduce once, print what came out, and tell whether it is as it should be."""
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="softmax-verify-")).resolve()
        if options.keep:
            stack.callback(print, f"Kept: {folder}/project")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        reproduction = Reproduction(folder, options.threads)
        reproduction.clone(commit, workspace=options.workspace)
        expected = lock.read(reproduction.project / lock.NAME)
        if options.stage is not None and options.stage not in expected:
            raise UserError(
                f"stage: there is no {options.stage!r}; choose one of {', '.join(expected)}"
            )
        outs = lock.outs(expected)
        if options.workspace:
            outs = [out._replace(md5=md5(Path(out.path)) or out.md5) for out in outs]
        print(f"Made on   {machine.made_on(reproduction.project, outs)}")
        print(f"Promised  the same bits on {lock.promised(expected)}")
        limit = [f"threads={options.threads}"] if options.threads else []
        here = [machine.line(machine.here()), *limit, *machine.settings()]
        print(f"Runs on   {', '.join(here)}", flush=True)
        reproduction.start_from_nothing(expected, outs, options.stage)
        failure = ""
        try:
            with closing(reproduction.run(options.stage)) as running:
                for stage in running:
                    print(f"  {stage} ...", flush=True)
        except UserError as error:
            failure = str(error)
        chosen = [out for out in outs if options.stage in (None, out.stage)]
        report = Report(reproduction, expected, chosen, options.tolerance, failure)
        print(f"\n{report}\nTook {time.monotonic() - started:.0f} s.")
    if options.record and report.identical:
        machine.record(outs)
        print(f"{machine.FILE} says that these results were made on this machine: commit it.")
    elif options.record:
        print(f"{machine.FILE} is left as it was.")
    return report.good


if __name__ == "__main__":
    arguments.run(main)
