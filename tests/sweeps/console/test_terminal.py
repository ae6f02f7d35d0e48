"""The console of a command: whatever becomes of its reader, and of the window."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sweeps.console.terminal import new_console


def test_a_pipe_that_nobody_reads_any_more_ends_no_command() -> None:
    """Ctrl-C ends `tee` before the command has told that it stops."""
    code = """
import sys, time
from sweeps.console.terminal import new_console, say
console = new_console()
sys.stdin.read()
for number in range(3):
    say("is anybody there?", console)
print("nobody", flush=True)
sys.exit(7)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == 7


def test_a_window_without_columns_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    new_console().print("seen")
    assert capsys.readouterr().out == "seen\n"
