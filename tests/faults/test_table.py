"""The table of faults: what is written, and that its page shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sweeps.analysis.docs.written_pages import with_table
from tests.commands import ROOT
from tests.faults.table import PAGE, TABLE, as_markdown

TESTS = """
import pytest

@pytest.mark.fault("rain", "nobody gets wet")
@pytest.mark.parametrize("times", [3, 4])
def test_rain(times, record_property):
    record_property("times", times)

@pytest.mark.fault("snow", "nobody slips")
def test_snow():
    assert False

def test_of_no_fault():
    pass
"""


def test_each_fault_is_a_line_and_one_that_does_harm_is_shouted(tmp_path: Path) -> None:
    (tmp_path / "test_weather.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = fault(name, outcome)\n")
    table = tmp_path / "table.json"
    command = [sys.executable, "-m", "pytest", "-c", tmp_path / "pytest.ini", "-p", "tests.faults.table"]
    command += ["--fault-table", table, "-m", "fault", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert as_markdown(table).splitlines()[2:] == ["| rain | 7 | nobody gets wet |", "| snow | 1 | FAILED |"]
    subprocess.run([*command, "-k", "snow"], cwd=ROOT, capture_output=True, check=False)
    assert len(json.loads(table.read_text())["faults"]) == 3, "those of tests that were not run stay"


def test_the_page_shows_the_table_of_a_run_without_harm() -> None:
    table, page = ROOT / TABLE, (ROOT / PAGE).read_text()
    assert with_table(page, as_markdown(table), "faults") == page, "python -m tests.faults.table writes it"
    assert [line["fault"] for line in json.loads(table.read_text())["faults"] if line["outcome"].isupper()] == []
