"""Stages as commands by the hundred: forked from one process that has imported what they import.

Each runs the whole of `cli.app.run`, as `python -m pipeline.STAGE` does, up to where its own work
would begin. Its process is small, and has the project's code: a fork costs less than one of
`tests.commands`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.conftest import Project

SERVER = """
import json, os, sys
from hydra.core.plugins import Plugins
from pipeline import models, optimizers
from pipeline.cli import app
from pipeline.sweeping import sweep
Plugins.instance()
sys.argv[0] = "train"

def main(config, *_):
    sys.exit("composed " + config.model_dump_json())

main.__code__ = main.__code__.replace(co_filename="train.py")
for line in sys.stdin:
    read, write = os.pipe()
    if not (child := os.fork()):
        os.dup2(write, 1), os.dup2(write, 2), os.close(write)
        sys.argv[1:] = json.loads(line)
        code = 0
        try:
            app.run(main, sweeps=True)
        except SystemExit as stop:
            print(stop.code if isinstance(stop.code, str) else "", end="", file=sys.stderr)
            code = 1 if isinstance(stop.code, str) else stop.code
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(50 + code if "tensorflow" in sys.modules else code)
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as output:
        said = output.read()
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    print(json.dumps([os.waitstatus_to_exitcode(status), said, seconds]), flush=True)
"""


@dataclass
class Done:
    """How a command ended, after how many seconds of processor time."""

    code: int
    said: str
    seconds: float

    @property
    def composed(self) -> bool:
        """Whether the configuration was right, which is then in what it said."""
        return self.said.startswith("composed {")


class Forks:
    """Runs `python -m pipeline.train` with other arguments again and again."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self.process = process

    def __call__(self, *arguments: str) -> Done:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{json.dumps(arguments)}\n")
        self.process.stdin.flush()
        return Done(*json.loads(self.process.stdout.readline()))


@contextmanager
def forking(project: Project) -> Iterator[Forks]:
    """Start the process from which commands in a project are forked."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=project.folder,
        env=project.environment(PYTHONDONTWRITEBYTECODE="1"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        yield Forks(process)
        assert process.stdin
        process.stdin.close()
