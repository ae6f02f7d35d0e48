"""The table of what may happen and what came of it: a plugin of pytest, which `make test-faults` loads.

    python -m tests.faults.table      # writes it into its page

Each test marked `fault(NAME, OUTCOME)` is a line: the outcome that it asserts, or that it did not come about, and how
often the fault was made, where the test counts it with `record_property("times", N)`. Lines of files that are there no
more go, those of tests that were not run this time stay.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from larvae.hardware import processor_name
from sweeps.analysis.docs.written_pages import with_table
from sweeps.tracking.provenance import git_commit

TABLE, PAGE = Path("benchmarks/results/faults.json"), Path("docs/reliability.md")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A fault and its outcome."""

    fault: str
    times: int
    outcome: str
    """As the test asserts it; how it went otherwise, in capital letters."""
    test: str
    seconds: float
    commit: str
    processor: str


class FaultTable:
    """Gathers lines, and writes them when the tests have ended."""

    def __init__(self, path: Path, root: Path) -> None:
        """root: the folder from which the names of tests count."""
        self.path, self.root = path, root
        self.lines: list[Line] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report: pytest.TestReport = yield  # type: ignore[misc, assignment]
        marker = item.get_closest_marker("fault")
        if marker and (report.when == "call" or not report.passed):
            name, outcome = marker.args
            times = dict(report.user_properties).get("times", 1)
            if not report.passed:
                outcome = report.outcome.upper()
            seconds = round(report.duration, 1)
            self.lines.append(
                Line(
                    fault=name,
                    times=int(str(times)),
                    outcome=outcome,
                    test=item.nodeid,
                    seconds=seconds,
                    commit=git_commit(),
                    processor=processor_name(),
                )
            )
        return report  # type: ignore[return-value]

    def pytest_sessionfinish(self) -> None:
        new = {line.test: dataclasses.asdict(line) for line in self.lines}
        old = json.loads(self.path.read_text())["faults"] if self.path.exists() else []
        lines = {line["test"]: line for line in old if (self.root / line["test"].partition("::")[0]).exists()} | new
        table = {"faults": sorted(lines.values(), key=lambda line: (line["fault"].casefold(), line["test"]))}
        self.path.write_text(json.dumps(table, indent=1) + "\n")


def as_markdown(table: Path) -> str:
    """The lines of a written table for a page; of equal ones the number is summed."""
    times: dict[tuple[str, str], int] = {}
    for line in json.loads(table.read_text())["faults"]:
        key = line["fault"], line["outcome"]
        times[key] = times.get(key, 0) + line["times"]
    rows = [f"| {fault} | {number:,} | {outcome} |" for (fault, outcome), number in times.items()]
    return "\n".join(["| fault | times | outcome |", "|---|---:|---|", *rows])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="file that the table of faults is written to")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--fault-table"):
        config.pluginmanager.register(FaultTable(path, config.rootpath))


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(), as_markdown(TABLE), "faults"))
