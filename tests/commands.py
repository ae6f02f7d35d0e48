"""Commands that pages show, held against the scripts that they name."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Sequence
from importlib import util
from pathlib import Path

import tyro

from sweeps import options

ROOT = Path(__file__).parents[1]


def commands(page: str) -> list[str]:
    """Lines of a page's code blocks, fenced or indented, that begin with `python`; continued ones joined."""
    joined = page.replace("\\\n", " ")
    lines = [line.strip() for line in re.findall(r"^(?: {4})?python .*$", joined, re.MULTILINE)]
    return [shlex.join(shlex.split(line, comments=True)) for line in lines]


def dead_links(page: Path) -> list[str]:
    """Links of a Markdown page that lead nowhere: to no file, or to no title of the page itself."""
    text = page.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    dead = []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        if not link.startswith("http") and not ((page.parent / path).exists() and (not anchor or anchor in anchors)):
            dead.append(link)
    return dead


def check_python(words: Sequence[str]) -> None:
    """Raise unless what comes after `python` is a script or module of the project that takes these options."""
    script, *arguments = words
    script = re.sub(r"^.*/(?=(?:sweeps|analysis|benchmarks)/)", "", script)  # wherever an image has the project
    if script == "-m":
        assert util.find_spec(arguments[0]), arguments[0]
        return
    assert (ROOT / script).exists(), script
    folder, name = Path(script).parts[0], Path(script).stem
    if folder == "sweeps":
        presets = importlib.import_module(f"sweeps.{name}").PRESETS
        options.parse(arguments, presets, lambda address: "paper", "")
    elif folder == "analysis":
        tyro.cli(importlib.import_module(f"analysis.{name}").Arguments, args=arguments)
    else:  # importing a benchmark can take long, and what it measures with may not be installed
        source = (ROOT / script).read_text()
        assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in source] == []
