"""Drawn command lines as real processes, which end as they do in this process, and leave nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.commands import OPTIONS, ROOT
from tests.faults.drawn_command_lines import Ended
from tests.faults.fuzzing import Record, fuzz
from tests.faults.in_process import Line, any_line, assert_well_ended, fill, in_process, things, words_of

PROCESSES = 200
HANGS_AFTER = 60
"""Seconds: ten times what the longest takes on a busy machine."""


def run(line: Line, folder: Path) -> Ended:
    """Run a command in a filled folder of its own, by a user with a home of its own; assert that it leaves no file."""
    work, home = folder / "work", folder / "home"
    fill(work)
    home.mkdir()
    before = things(work)
    name = line[0].removesuffix(".__main__")
    script = ["-m", name] if name in OPTIONS or name == "larvae.datasets" else [f"{ROOT / name.replace('.', '/')}.py"]
    environment = {"HOME": str(home), "LARVAE_CACHE_DIR": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, *script, *words_of(line)], cwd=work, capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1", **environment}, stdin=subprocess.DEVNULL, timeout=HANGS_AFTER,
    )  # fmt: skip
    new = [str(path.relative_to(work)) for path in things(work).keys() - before.keys() if path.is_file()]
    assert [path for path in new if ran.returncode or path not in ran.stdout] == [], line
    return Ended(ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.slow
@pytest.mark.fault(
    "a drawn command line, as a process", "exit code 0 or 2, one line of error, no file left, no traceback"
)
def test_processes_end_as_commands_do_in_this_process(tmp_path: Path, record_property: Record) -> None:
    drawn: list[tuple[Line, Ended]] = []

    def draw(line: Line) -> None:
        if len(drawn) < PROCESSES and (ended := check(line)) and line not in [known for known, _ in drawn]:
            drawn.append((line, ended))

    with in_process(tmp_path) as check:
        fuzz(draw, any_line(), times=3 * PROCESSES)
    assert len(drawn) == PROCESSES
    with ThreadPoolExecutor(2) as two:
        ends = two.map(run, [line for line, _ in drawn], [tmp_path / str(number) for number in range(PROCESSES)])
        for (line, expected), ended in zip(drawn, ends, strict=True):
            assert_well_ended(ended)
            assert ended.code == expected.code, (line, ended)
            assert not re.search("Traceback|Error:", ended.out + ended.err), line
    record_property("times", PROCESSES)
