"""Drawn files and texts: each reader gives what was written, or goes without, or says in one line what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from larvae.checkpoint import load_checkpoint, previous, save_checkpoint, whole_checkpoint
from larvae.config import MemberConfig
from larvae.datasets import attribute_table
from larvae.errors import InvalidInputError
from larvae.files import append_lines, load_json, read_lines, save_json
from larvae.member_directory import MemberDirectory
from sweeps import study
from sweeps.adaptive.space import SEARCHABLE, parse_space
from sweeps.analysis.load_kept import load_kept
from sweeps.analysis.settings import where
from sweeps.driver import tokens
from sweeps.grid import SWEPT, parse_values
from sweeps.member_logs.found_members import choose, find_members
from sweeps.tracking.addresses import default_uri, kind_fault, masked, shown, without_password
from tests.commands import ROOT
from tests.faults.fuzzing import Record, examples, fuzz
from tests.sweeps.commands import SCHEDULE

NUMBERS = st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=6
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"iteration": st.integers(0, 10**9)}, optional={"loss": NUMBERS, "mig": NUMBERS, "é\n": NUMBERS}
    ),
    min_size=1,
    max_size=4,
)
BITS = st.binary(max_size=6) | st.sampled_from(
    [b"\n", b"\r", b"\n3\n", b"\n{}\n", b"\0", b'"', b"[" * 5000, b"9" * 5000]
)
WORDS = (
    *("", "0", "1", "2.5", "10", "-1", "nan", "inf", "1e400", "9" * 5000, "log", "zero", "true", "x"),
    *("é", "\udcff", "\n"),
)
"""Parts of texts, of which few are right."""


def damaged(content: bytes) -> SearchStrategy[bytes]:
    """Some bytes anywhere replaced by others, or by none, and perhaps the rest gone."""
    places = st.integers(0, len(content)) | st.integers(0, 200).map(lambda n: max(0, len(content) - n))
    ends = st.sampled_from([0, 1, 1, 8, 200, len(content)])
    return st.builds(lambda at, gone, bits: content[:at] + bits + content[at + gone :], places, ends, BITS)


def refusal(read: Callable[[], object]) -> str:
    """The line with which a reader refuses; empty where it does not."""
    told = ""
    try:
        read()
    except InvalidInputError as error:
        told = str(error)
    assert len(told.splitlines()) <= 1
    return told


@pytest.mark.fault("damaged lines of rows, logs and suggestions", "later lines are read, earlier whole ones kept")
@examples(few=15, many=1500)
def test_lines_before_and_after_damage_are_read(times: int, tmp_path: Path, record_property: Record) -> None:
    path = tmp_path / "rows.jsonl"

    def check(rows: list[Any], more: list[Any], chance: st.DataObject) -> None:
        path.unlink(missing_ok=True)
        append_lines(path, rows)
        assert read_lines(path) == (rows, path.stat().st_size)
        assert MemberDirectory(tmp_path).read_rows()[0] == rows
        whole = path.read_bytes()
        content = chance.draw(damaged(whole))
        path.write_bytes(content)
        append_lines(path, more)
        read = read_lines(path)[0]
        same = next(
            at for at in range(len(whole) + 1) if whole[at : at + 1] != content[at : at + 1] or at == len(whole)
        )
        kept = whole[:same].count(b"\n")
        assert read[:kept] == rows[:kept]
        assert read[len(read) - len(more) :] == more

    record_property("times", fuzz(check, ROWS, ROWS, st.data(), times=times))


@pytest.mark.fault(
    "any bytes in the place of a JSON file", "an object as it was written, or one line that names the file"
)
@examples(few=15, many=1500)
def test_objects_come_back_and_any_other_bytes_are_refused(times: int, tmp_path: Path, record_property: Record) -> None:
    path = tmp_path / "study.json"

    def check(value: dict[str, Any], chance: st.DataObject) -> None:
        save_json(path, value)
        assert load_json(path) == value
        path.write_bytes(chance.draw(st.binary() | damaged(path.read_bytes())))
        assert re.fullmatch(rf"|`{path}` must be a whole JSON object, but: .+", refusal(lambda: load_json(path)))
        if not refusal(lambda: load_json(path)):
            save_json(path, load_json(path))

    record_property("times", fuzz(check, OBJECTS, st.data(), times=times))


@pytest.mark.fault("a damaged checkpoint", "noticed, whatever byte it is; the one before is used")
@examples(few=20, many=1500)
@pytest.mark.filterwarnings("ignore::larvae.advice.Advice")
def test_no_damage_of_a_checkpoint_is_overlooked(times: int, tmp_path: Path, record_property: Record) -> None:
    path = tmp_path / "checkpoint.pt"
    for iteration in range(2):
        save_checkpoint(path, {"iteration": iteration, "weight": torch.arange(100.0)})
    whole, state = path.read_bytes(), load_checkpoint(path)

    def check(content: bytes) -> None:
        assume(content != whole)
        path.write_bytes(content)
        if whole_checkpoint(path) == path:  # the checksum alone was cut off, which earlier versions do not have
            assert torch.equal(load_checkpoint(path)["weight"], state["weight"])
        else:
            assert refusal(lambda: load_checkpoint(path)).startswith(f"`{path}` must be a whole checkpoint")
            assert load_checkpoint(previous(path))["iteration"] == 0

    record_property("times", fuzz(check, damaged(whole), times=times))


@pytest.mark.fault(
    "a damaged table of CelebA's attributes", "the attributes as published, or one line that names the file"
)
@examples(few=15, many=1000)
def test_tables_of_attributes_are_read_or_refused(times: int, record_property: Record) -> None:
    images, names = [f"{n:06d}.jpg" for n in range(1, 5)], ["bangs", "smiling", "young"]

    def check(values: list[int], chance: st.DataObject) -> None:
        classes = np.array(values, np.uint8).reshape(4, 3)
        content = attribute_table.published(classes, images, names)
        assert np.array_equal(attribute_table.read("t", content, images, names), classes)
        content = chance.draw(damaged(content))
        told = refusal(lambda: attribute_table.read("t", content, images, names))
        assert re.fullmatch(r"|`t` must (list|name|give) .+", told)

    values = st.lists(st.integers(0, 1), min_size=12, max_size=12)
    record_property("times", fuzz(check, values, st.data(), times=times))


# Texts


@pytest.fixture
def without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids are made without drawing their labelled images, which takes most of the time."""
    monkeypatch.setattr(study.datasets, "labelled_indices", lambda *_, **__: None)


def texts(names: Sequence[str]) -> SearchStrategy[str]:
    """Texts like NAME=A,B or NAME=A:B, of which few are right, and any others."""
    values = st.lists(st.sampled_from(WORDS) | st.floats().map(repr), max_size=4)
    named = st.builds(
        lambda name, glue, some: f"{name}={glue.join(some)}",
        st.sampled_from([*names, "", "x"]),
        st.sampled_from(",:+"),
        values,
    )
    return named | st.text()


TOMLS = (
    "tau = {low = 0.1, high = 10, log = true, zero = true}\nz_dim = {low = 1, high = 10}\nlabel_rate = [0.01, 0.02]",
    "[tau]\nlow = 1.0\nhigh = 20\nlog = true\n",
    f"z_dim = [1, {'9' * 5000}]",
    f"tau = {'[' * 3000}{']' * 3000}",
    "tau = [1979-05-27, 07:32:00]",
)
"""Files of spaces, from which others are made; the last three are none."""


@pytest.mark.fault("a drawn --space, --space-file or --grid", "values as typed that the field can have, or one line")
@examples(few=30, many=2000)
@pytest.mark.usefixtures("without_drawing")
def test_spaces_and_grids_are_what_was_typed(times: int, tmp_path: Path, record_property: Record) -> None:
    file = tmp_path / "space.toml"

    def check(text: str, of_grid: str, toml: bytes) -> None:
        if not refusal(lambda: parse_space([text])):
            space = parse_space([text])
            assert parse_space(str(space).split()).parameters.keys() == space.parameters.keys()
            assert all(not axis.single() for axis in space.distributions().values())
            for corner in space.corners():
                MemberConfig.from_dict(corner)
        if not refusal(lambda: parse_values(of_grid)):
            name, values = parse_values(of_grid)
            typed = [word.strip() for word in of_grid.partition("=")[2].split(",") if word.strip()]
            assert name in SWEPT
            assert len(values) == len(typed)
            refusal(lambda: assert_told_apart(study.grid("s", {}, {"seed": range(2), name: values}, SCHEDULE)))
        file.write_bytes(toml)
        refusal(lambda: parse_space([], file))

    tomls = st.sampled_from(TOMLS).flatmap(lambda text: damaged(text.encode()))
    record_property("times", fuzz(check, texts(SEARCHABLE), texts(SWEPT), tomls, times=times))


def assert_told_apart(grid: study.Study) -> None:
    """Members have names of their own, and come back from files as they were."""
    assert len({grid.label(member) for member in grid.members}) == len(grid.members)
    for member in grid.members:
        assert MemberConfig.from_dict(json.loads(json.dumps(member.to_dict()))) == member


@pytest.mark.fault("drawn values of a grid's fields", "members that are told apart by their names")
@examples(few=10, many=1000)
@pytest.mark.usefixtures("without_drawing")
def test_members_are_told_apart(times: int, record_property: Record) -> None:
    def check(taus: list[float], alphas: list[float]) -> None:
        swept = {"tau": taus, "alpha": alphas, "seed": range(2)}
        refusal(lambda: assert_told_apart(study.grid("s", {}, swept, SCHEDULE)))

    several = st.lists(
        st.floats(0, 1e9) | st.sampled_from([1.0, 1.0000001, 0.1, 0.30000000000000004, 0.3]), min_size=1, max_size=4
    )
    record_property("times", fuzz(check, several, several, times=times))


@pytest.mark.fault("a drawn address with a password", "no message shows the password; the variables hold it")
@examples(few=60, many=3000)
def test_passwords_are_never_shown(times: int, monkeypatch: pytest.MonkeyPatch, record_property: Record) -> None:
    def check(scheme: str, user: str, before: str, after: str, rest: str, in_query: bool) -> None:
        password = f"{before}SECRET{after}"
        assume(not re.match(r"\d+/", password))  # a port and a path, whose @ needs not be written otherwise
        if in_query:
            password = password.replace("&", "")  # which ends it
            uri = f"{scheme}://{user}@h{rest}?x=1&password={password}"
        else:
            uri = f"{scheme}://{user}:{password}@h{rest}"
        assert "SECRET" not in shown(uri), uri
        assert "SECRET" not in masked(f"no answer from {uri} as {password}", uri), uri
        assert "SECRET" not in kind_fault(uri), uri
        without, variables = without_password(uri)
        if variables and not set(password) & set("@/?#"):  # which belong into addresses as %40 and the like
            assert "SECRET" in "".join(variables.values())
            assert "SECRET" not in without
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert default_uri() == without

    any_text = st.text("ab1/:@?#[]%=&+\n é\udcff.", max_size=4)
    schemes = st.sampled_from(
        ["http", "https", "postgresql", "postgresql+psycopg2", "mysql", "mssql+pyodbc", "ftp", "x"]
    )
    hosts = st.sampled_from(["", ":5000", ":5000/x", "/db", ":x"])
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD"):
        monkeypatch.setenv(name, "")
    check("http", "", "", "", "/a@b", False)
    drawn = (schemes, st.text("abc%.", max_size=3), any_text, any_text, hosts, st.booleans())
    record_property("times", fuzz(check, *drawn, times=times))


@pytest.mark.fault(
    "any text as an address, a study's name, a token, or a member that is meant", "taken whole, or one line"
)
@examples(few=20, many=1500)
def test_words_of_command_lines_are_taken_whole_or_refused(times: int, tmp_path: Path, record_property: Record) -> None:
    kept = ROOT / "docs/results/control"
    table = load_kept(kept)
    directory = study.StudyDirectory(tmp_path / "results/study")
    directory.write_record(study.grid("study", {}, {"seed": (0, 1), "tau": (0.0, 1.0)}, SCHEDULE), {})
    found = list(find_members(tmp_path / "results"))

    def check(text: str, condition: str) -> None:
        for read in (shown, kind_fault, without_password, lambda t: masked(t, t)):
            read(text)
        if not refusal(lambda: study.require_name(text)):
            folder = tmp_path / "names" / text
            folder.mkdir(parents=True)
            assert [path.name for path in folder.parent.iterdir()] == [text]
            folder.rmdir()
        told = refusal(lambda: tokens._checked(text, "`file`", "mend it"))
        assert told or tokens._checked(text, "", "").isascii()
        if not refusal(lambda: choose(found, text)):
            assert text.split() or text in choose(found, text).name
        if not refusal(lambda: where(table, [condition])):
            assert 0 < len(where(table, [condition])) <= len(table)

    check("x", "tau=\udcff")
    words = st.text() | st.text(st.characters()) | st.sampled_from(WORDS)
    record_property("times", fuzz(check, words, texts([*SWEPT, "status", "name"]), times=times))
