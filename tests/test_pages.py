"""README and docs: their links lead somewhere, and the commands and files that they name are ones that exist."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.commands import (
    ROOT,
    check_make,
    check_python,
    commands,
    dead_links,
    help_of,
    missing_files,
    script_of,
)

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS, ROOT / "docs/results/README.md", ROOT / "cluster/README.md"]
COMMANDS = sorted({command for page in PAGES for command in commands(page.read_text())})
SCRIPTS = sorted({script_of(shlex.split(command)[1:])[0] for command in COMMANDS if command.startswith("python ")})
MOST_WORDS = 900
"""Of the README: who wants to know more follows a link."""


def check(command: str) -> None:
    """Raise where a command is not one that exists."""
    program, *words = shlex.split(command)
    {"python": check_python, "make": check_make}[program](words)


def test_the_readme_names_every_command() -> None:
    sweeps = ("tau_sweep", "z_dim_sweep", "label_rate_sweep", "control_sweep", "celeba_sweep", "search")
    figures = ("sensitivity", "label_rates", "controls", "claims", "traversals", "search_report", "report")
    expected = [f"python sweeps/{name}.py" for name in sweeps] + [f"python analysis/{name}.py" for name in figures]
    expected += [
        "python -m sweeps.logs",
        "python -m sweeps.studies",
        "python -m larvae.datasets",
        "python -m cluster.preflight --address auto",
    ]
    expected += ["make sweep", "make test", "make study 'STUDY_FLAGS=--study curve'"]
    assert set(expected) <= set(commands(README.read_text()))


def test_the_readme_is_short() -> None:
    assert len(README.read_text().split()) <= MOST_WORDS


def test_the_readme_leads_to_every_page() -> None:
    text = README.read_text()
    assert [page.name for page in DOCS if f"](docs/{page.name})" not in text] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    check(command)


@pytest.mark.parametrize("script", [script for script in SCRIPTS if not script.startswith("benchmarks/")])
def test_scripts_explain_themselves(script: str) -> None:
    assert "--" in help_of(script)


@pytest.mark.slow
@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.startswith("benchmarks/")])
def test_benchmarks_explain_themselves(script: str) -> None:
    told = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    used = {word for command in COMMANDS if script in command for word in command.split() if word.startswith("--")}
    assert [word for word in used if word not in told] == []


@pytest.mark.parametrize(
    "command",
    [
        "python sweeps/tau_sweep.py --no-such-option",
        "python sweeps/tau_sweep.py --iterations many",
        "python analysis/no_such_script.py",
        "python analysis/sensitivity.py --no-such-option 3",
        "python benchmarks/step.py --no-such-option",
        "python benchmarks/draw.py --no-such-option",
        "python -m sweeps.no_such_module",
        "python -m sweeps.logs --no-such-option",
        "python -m larvae.datasets no-such-command",
        "make no-such-target",
        "make sweep NO_SUCH_VARIABLE=1",
    ],
)
def test_what_does_not_exist_is_found(command: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        check(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_exist(page: Path) -> None:
    assert dead_links(page) == []
    assert missing_files(page.read_text()) == []


def test_dead_links_and_missing_files_are_found(tmp_path: Path) -> None:
    other, page = tmp_path / "other.md", tmp_path / "page.md"
    other.write_text("# Twice\n# Twice\n```\n# in code\n```\n")
    page.write_text(
        "# A `title`, or two\n[itself](#a-title-or-two) [out](https://example.org) [second](other.md#twice-1)\n"
        "[no](none.md) [gone](page.md#none) [third](other.md#twice-2) [code](other.md#in-code) ![picture](none.png)\n\n"
        "| a |\n|---|\n| [in a table](none.csv) `sweeps/none.py` `sweeps/study.py` `sweeps/none/` |\n\n"
        "```mermaid\na[analysis/none.py<br>b] --> c\n```\n"
    )
    assert dead_links(page) == [
        "none.md",
        "page.md#none",
        "other.md#twice-2",
        "other.md#in-code",
        "none.png",
        "none.csv",
    ]
    assert missing_files(page.read_text()) == ["sweeps/none.py", "sweeps/none/", "analysis/none.py"]


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()
    assert citation["license"] == "Apache-2.0"
    assert "Copyright 2026 the LaRVAE sweeps authors" in (ROOT / "LICENSE").read_text()
