"""`pytest --processor-time`: the processor seconds of each test, with those of its commands."""

import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

NAME = "processor seconds"
SHOWN = 10


def used() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class ProcessorTime:
    """Adds up what workers and forked commands report, and shows it in the end."""

    def __init__(self, log: Path | None):
        self.log = log
        self.seconds: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.before = used()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        yield
        item.user_properties.append((NAME, used() - self.before))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.seconds[report.nodeid] += dict(report.user_properties).get(NAME, 0.0)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        forked, refused = 0.0, Counter[str]()
        for line in self.log.read_text(encoding="utf-8").splitlines() if self.log else ():
            seconds, _, test = line.partition(" ")
            if seconds == "cold":
                refused[test] += 1
                continue
            self.seconds[test] += float(seconds)
            forked += float(seconds)
        terminalreporter.section(
            f"{NAME}: {self.seconds.total():.0f}, {forked:.0f} of it forked; "
            f"{refused.total()} commands were unlike the server, and started cold"
        )
        for test, count in refused.items():
            terminalreporter.line(f"{count:5} cold  {test}")
        for test, seconds in self.seconds.most_common(SHOWN):
            terminalreporter.line(f"{seconds:8.1f}  {test}")
        files = Counter[str]()
        for test, seconds in self.seconds.items():
            files[test.partition("::")[0]] += seconds
        for file, seconds in files.most_common():
            terminalreporter.line(f"{seconds:8.1f}  {file}")
