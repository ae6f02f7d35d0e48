"""README and docs: their links lead somewhere, and their commands are ones that exist."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.commands import ROOT, check_python, commands, dead_links

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted({command for page in PAGES for command in commands(page.read_text())})


def test_there_are_commands_to_check() -> None:
    for start in ("sweeps/search.py", "analysis/sensitivity.py", "benchmarks/scaling.py", "-m sweeps.logs"):
        assert any(command.startswith(f"python {start}") for command in COMMANDS), start


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    check_python(shlex.split(command)[1:])


@pytest.mark.parametrize(
    "command",
    [
        "sweeps/tau_sweep.py --no-such-option",
        "sweeps/tau_sweep.py --iterations many",
        "analysis/no_such_script.py",
        "analysis/sensitivity.py --no-such-option 3",
        "benchmarks/step.py --no-such-option",
        "-m sweeps.no_such_module",
    ],
)
def test_what_does_not_exist_is_found(command: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        check_python(shlex.split(command))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title\n[itself](page.md#a-title) [out](https://example.org) [no](none.md) [gone](page.md#none)\n"
    )
    assert dead_links(page) == ["none.md", "page.md#none"]
