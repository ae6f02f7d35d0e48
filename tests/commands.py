"""Reads what Markdown pages show, link to and name, and holds it against the project."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import re
import runpy
import shlex
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import tyro
from markdown_it import MarkdownIt
from markdown_it.token import Token

from larvae.datasets import __main__ as dataset_commands
from sweeps import options

ROOT = Path(__file__).parents[1]
FOLDERS = "analysis|benchmarks|cluster|docs|larvae|sweeps|tests"
OPTIONS = {
    "cluster.preflight": "PreflightOptions",
    "cluster.ray_token": "TokenOptions",
    "sweeps.logs": "LogsOptions",
    "sweeps.studies": "StudiesOptions",
}
"""The class that parses the command line of a module that is called with `-m`."""


def code(page: str) -> Iterator[str]:
    """Yield the text of each code block of a page, but of files that it shows by name, and of each code span."""
    for token in _tokens(page):
        if token.type in ("fence", "code_block", "code_inline") and " " not in token.info:
            yield token.content.replace("\\\n", " ")


def commands(page: str) -> list[str]:
    """Find commands of a page's code that begin with `python` or `make`; also those that `ray job submit` is given."""
    lines = [line.strip() for text in code(page) for line in text.splitlines()]
    lines = [re.sub(r"^ray job submit .* -- (?=python )", "", line) for line in lines]
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if re.match(r"(python|make) ", line)]


def missing_files(page: str) -> list[str]:
    """Find files and folders of this project that a page names in code spans and diagrams, and that do not exist."""
    name = rf"(?:{FOLDERS})/(?:[\w./-]+\.\w+|[\w./-]*/)"
    spans = [token.content for token in _tokens(page) if token.type == "code_inline"]
    diagrams = [token.content for token in _tokens(page) if token.info == "mermaid"]
    named = [span for span in spans if re.fullmatch(name, span)]
    named += [found for text in diagrams for found in re.findall(rf"\b{name}", text)]
    return [found for found in named if not (ROOT / found).exists()]


def dead_links(page: Path) -> list[str]:
    """Find links and pictures of a page that lead nowhere: to no file of the repository, or to no title of a page."""
    return [link for link in _links(page.read_text()) if "://" not in link and not _leads_somewhere(page, link)]


def check_make(words: Sequence[str]) -> None:
    """Raise unless what comes after `make` are targets and variables of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert re.search(
            rf"^{re.escape(name)} \?=" if is_variable else rf"^{re.escape(name)}:", makefile, re.MULTILINE
        ), word


def check_python(words: Sequence[str]) -> None:
    """Raise unless what comes after `python` is a script or module of the project that takes these options."""
    name, arguments = script_of(words)
    if name == "-m larvae.datasets":
        if arguments:
            dataset_commands.parse(arguments)
    elif name.startswith("-m "):
        module = importlib.import_module(name[3:])
        tyro.cli(getattr(module, OPTIONS[name[3:]]), args=arguments)
    elif name.startswith("sweeps/"):
        presets = importlib.import_module(name.removesuffix(".py").replace("/", ".")).PRESETS
        options.parse(arguments, presets, lambda address: "paper", "")
    elif name.startswith("analysis/"):
        tyro.cli(importlib.import_module(name.removesuffix(".py").replace("/", ".")).Arguments, args=arguments)
    else:  # importing a benchmark takes seconds, and what it measures with may not be installed
        source = (ROOT / name).read_text()
        known = [word for word in arguments if f'"{word}"' in source or f"    {word[2:].replace('-', '_')}: " in source]
        assert [word for word in arguments if word.startswith("--") and word not in known] == []


def script_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """Tell what is run, `-m MODULE` or a script's path from the root, and its arguments."""
    if words[0] == "-m":
        return f"-m {words[1]}", list(words[2:])
    return re.sub(rf"^.*/(?=(?:{FOLDERS})/)", "", words[0]), list(words[1:])  # wherever an image has the project


def help_of(script: str) -> str:
    """Run a script or module, as of `script_of`, with --help within this process; the text that it prints.

    Raises AssertionError where it ends otherwise than with exit code 0.
    """
    printed, ended = io.StringIO(), None
    with (
        mock.patch.object(sys, "argv", [script, "--help"]),
        contextlib.redirect_stdout(printed),
        warnings.catch_warnings(action="ignore", category=RuntimeWarning),  # it may have been imported before
    ):
        try:
            if script.startswith("-m "):
                runpy.run_module(script[3:], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as stop:
            ended = stop.code
    assert ended == 0, f"{script} --help ended with {ended}"
    return printed.getvalue()


def _tokens(page: str) -> Iterator[Token]:
    """Yield all tokens of a page, those within paragraphs and tables too."""
    for token in MarkdownIt("commonmark").enable("table").parse(page):
        yield token
        yield from token.children or ()


def _links(page: str) -> Iterator[str]:
    for token in _tokens(page):
        if token.type in ("link_open", "image"):
            yield str(token.attrs["href" if token.type == "link_open" else "src"])


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in _anchors(target.read_text()))


def _anchors(page: str) -> set[str]:
    """Name a page's titles as GitHub does in links; of equal ones the later ones are numbered."""
    tokens, anchors, seen = list(_tokens(page)), set(), Counter[str]()
    for token, following in itertools.pairwise(tokens):
        if token.type == "heading_open":
            plain = "".join(child.content for child in following.children or ())
            anchor = re.sub(r"[^\w -]", "", plain.lower()).replace(" ", "-")
            anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return anchors
