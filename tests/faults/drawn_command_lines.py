"""Command lines of every command, drawn from what its own help says: its options, their kinds, words of its text."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from larvae import command_line
from tests.commands import ROOT

NUMBERS = (
    *("nan", "inf", "-inf", "-0", "-1", "0", "1e400", "1e-400", "1e308", "0x10", "1_0", "١", "½", "None", "", "x"),
    *(str(10**30), str(2**63), "9" * 5000),
)  # fmt: skip
"""Numbers that no option, or only a few, can have."""
HOSTILE = (
    *(*NUMBERS, " ", "none", "True", "x" * 300, "é", "日本", "\udcff", "a\nb", "\t", "\x1b[31m", "\u202e", "'"),
    *("--", "-", "-h", "=", "a=b", "=1", "tau=", "..", "a/b", "a\\b", "{}", "[bold]", "%s", "$HOME", "s3://b/c"),
    *("tau=1,1.0000001", "tau=1:inf", "z_dim=1:2:log:log", f"z_dim=1,{'9' * 5000}"),
    *(f"{name}=" + ",".join(map(str, range(99))) for name in ("tau", "alpha", "seed")),
    *("sqlite:///", "sqlite:///mlflow.db", "sqlite:///a/b.db", f"sqlite:///{'x' * 300}/m.db", "postgresql://["),
    *("http://[::1", "http://127.0.0.1:1", "http://a:b@127.0.0.1:1", "http://127.0.0.1:99999", f"http://{'x' * 70}"),
    *("postgresql+psycopg2://u:p@127.0.0.1:1/x", "http://", "127.0.0.1:1", "127.0.0.1:x", "ray://127.0.0.1:1", ":"),
    *("auto", "local", "file", "file/below", "folder", "new/folder", "missing.toml"),
)  # fmt: skip
"""Values that few options can have."""
USUAL: Mapping[str, tuple[str, ...]] = {
    "INT": ("0", "1", "2", "3", "7", "50", "100", "500", "1000"),
    "FLOAT": ("0", "0.01", "0.1", "0.5", "1", "2.5", "1e-3", "64"),
    "PATH": ("results", "folder", "file", "new"),
}
"""Values that options of a kind can have."""
LABELS = re.compile(r"^│ (?:-h, )?(--[a-z][\w-]*)(?:, (--no-[\w-]+))?(?: ([^ ].*?))?(?:  .*)?│$")


class Option(NamedTuple):
    """An option as the help of its command has it."""

    name: str
    """With two dashes."""
    negation: str
    """The form that means no; empty where it takes values."""
    kind: str
    """INT, FLOAT, STR or PATH; of several values the first one's."""
    is_optional: bool
    """True if it can be None."""
    count: int
    """Number of values; 0 for any."""
    words: tuple[str, ...]
    """Words of its description."""


class Part(NamedTuple):
    """An option as it was typed."""

    words: tuple[str, ...]
    option: Option | None
    """None for what is no option: a word that the command takes besides, or, without values, nothing that it knows."""
    values: tuple[str, ...]


class Ended(NamedTuple):
    """The end of a command: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


def commands() -> dict[str, tuple[str, ...]]:
    """The modules of all commands of the project, with their subcommands."""
    files = [path for folder in ("sweeps", "analysis", "cluster") for path in (ROOT / folder).glob("*.py")]
    scripts = [path for path in files if "\nif __name__ ==" in path.read_text()]
    names = sorted(f"{path.parent.name}.{path.stem}" for path in scripts)
    return dict.fromkeys(names, ("",)) | {"larvae.datasets.__main__": ("prepare", "show")}


def call(command: str, arguments: Sequence[str]) -> Ended:
    """Run a command in this process as it would be run by itself, on streams like a process's own."""
    module = importlib.import_module(command)
    run: Callable[[Sequence[str]], int] = getattr(module, "run", None) or module.main
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: object
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command_line.run(lambda: run(list(arguments)))
        except SystemExit as stop:
            code = stop.code or 0
    written = [stream.detach().getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Ended(code if isinstance(code, int) else 1, *written)


@functools.cache
def options_of(command: str, subcommand: str = "") -> tuple[Option, ...]:
    """The options of a command, --help apart, as its help has them."""
    with mock.patch.dict(os.environ, COLUMNS="100"):
        text = call(command, [*filter(None, [subcommand]), "--help"]).out
    found: list[Option] = []
    for line in text.splitlines():
        if label := LABELS.match(line):
            found.append(_option(label[1], label[2] or "", label[3] or ""))
        if found:
            words = found[-1].words + tuple(re.findall(r"(?<!\S)[^\s│`;()-][^\s│`;()]*[^\s│`;().,]", line))
            found[-1] = found[-1]._replace(words=words)
    return tuple(option for option in found if option.name != "--help")


def _option(name: str, negation: str, metavar: str) -> Option:
    kind = re.search(r"INT|FLOAT|STR|PATH", metavar)
    count = 0 if "[" in metavar else 3 if metavar == "SIZE X Y" else 1
    named = {"SIZE X Y": "INT", "URL": "STR", "PICTURE": "PATH"}
    return Option(name, negation, kind[0] if kind else named.get(metavar, ""), "None" in metavar, count, ())


def lines(command: str) -> SearchStrategy[list[Part]]:
    """Command lines, half of them of real options with values of their kind, the others of whatever was typed."""
    return st.one_of([_lines(command, subcommand) for subcommand in commands()[command]])


def _lines(command: str, subcommand: str) -> SearchStrategy[list[Part]]:
    options = options_of(command, subcommand)
    usual = [_typed(option, _usual(option)) for option in options]
    odd = [_typed(o, st.sampled_from(NUMBERS if o.kind in ("INT", "FLOAT") else HOSTILE)) for o in options]
    wrong = [st.builds(lambda name, value: Part((name, value), None, ()), _misspelt(options), st.sampled_from(HOSTILE))]
    more = st.lists(st.one_of(*usual), max_size=2), st.lists(st.one_of(*odd), max_size=2)
    rare = st.integers(0, 9).flatmap(lambda n: st.lists(st.one_of(*wrong, st.just(HELP)), max_size=n == 0))
    known = st.tuples(*more, rare).map(lambda parts: [part for some in parts for part in some])
    named = st.sampled_from(["dsprites", "celeba", "isaac3d", *HOSTILE] if subcommand else ["", "seed=0", *HOSTILE])
    first = named.map(lambda word: [Part((*filter(None, [subcommand]), word), None, (word,))])
    takes_word = bool(subcommand) or command in TAKE_WORDS
    return st.tuples(first, known).map(lambda both: both[0] + both[1]) if takes_word else known


HELP = Part(("--help",), None, ())
TAKE_WORDS = ("sweeps.logs",)
"""Commands with a word that is no option."""


def _usual(option: Option) -> SearchStrategy[str]:
    """Values of an option's kind; where its text says NAME=, fields with values."""
    values = USUAL.get(option.kind) or _named(option.words)
    if any("NAME=" in word for word in option.words):
        fields = st.sampled_from(("tau", "alpha", "z_dim", "label_rate", "regulariser", "observed-factors", "seed"))
        several = st.lists(st.sampled_from(USUAL["FLOAT"]), min_size=1, max_size=3)
        return st.builds(lambda name, words, glue: f"{name}={glue.join(words)}", fields, several, st.sampled_from(",:"))
    return st.sampled_from(values)


def _named(words: tuple[str, ...]) -> tuple[str, ...]:
    """The choices that a description has, else its words; and the default, more often than others."""
    after = words.index("default:") if "default:" in words else len(words)
    choices = words[words.index("Choices:") + 1 : after] if "Choices:" in words else words
    default = words[after + 1 : after + 2]
    return (*choices, *default * (len(choices) // 2)) or ("x",)


def _typed(option: Option, value: SearchStrategy[str]) -> SearchStrategy[Part]:
    """An option as it may be typed, of which --NAME=VALUE and underscores are forms that mean the same."""
    if option.negation:
        return st.sampled_from([option.name, option.negation]).map(lambda name: Part((name,), option, (name,)))
    most = option.count or 3
    values = st.lists(value, min_size=option.count, max_size=most).map(tuple)
    spelt = st.sampled_from([option.name, option.name, "--" + option.name[2:].replace("-", "_")])
    apart = st.builds(lambda name, some: Part((name, *some), option, some), spelt, values)
    glued = st.builds(lambda name, one: Part((f"{name}={one}",), option, (one,)), spelt, value)
    return st.one_of(apart, apart, glued) if most != 3 or not option.count else apart


def _misspelt(options: tuple[Option, ...]) -> SearchStrategy[str]:
    """Names that are none: a part of one, one in capitals, one with a letter too many."""
    names = st.sampled_from(options).map(lambda option: option.name)
    return st.builds(lambda name, change: change(name), names, st.sampled_from([_part, str.upper, lambda s: s + "x"]))


def _part(name: str) -> str:
    return name[:-1] if len(name) > 3 else "--x"


def means(option: Option, value: str) -> object:
    """A typed value as the command understands it. Raises ValueError for one that cannot be meant."""
    if option.is_optional and value == "None":
        return None
    return {"INT": int, "FLOAT": float, "PATH": Path}.get(option.kind, str)(value)
