"""Files of a study with whatever damage: each reader goes without, or says in a line which file it is."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from rich.console import Console

from larvae.datasets import Dataset
from larvae.errors import InvalidInputError
from larvae.files import append_lines
from larvae.member_directory import MemberDirectory
from sweeps import search
from sweeps.adaptive.adaptive_study import AdaptiveStudy
from sweeps.adaptive.sampling import Suggestion
from sweeps.adaptive.suggestion_log import SuggestionLog
from sweeps.analysis.load_kept import load_kept
from sweeps.found_studies import found_studies
from sweeps.member_logs import stories
from sweeps.member_logs.found_members import FoundMember, find_members
from sweeps.member_logs.process_logs import process_logs
from sweeps.outcome import outcome
from sweeps.planning.cost import cost_of, read_results
from sweeps.resources.rates import rates_table, read_rates, save_rates
from sweeps.study import Study, StudyDirectory
from sweeps.trial.member_log import MemberLog, silence, starts_without_progress
from tests.sweeps.resources.gpus_that_do_not_exist import h100, v100
from tests.sweeps.trial.test_trial import MEMBERS, SHORT, Trial

ROW = {
    "iteration": 4,
    "timestamp": 1e9,
    "seconds": 1.0,
    "seconds_per_iteration": 0.5,
    "loss": 2.0,
    "mig": 0.5,
    "l2": 1.0,
}
OTHERS: list[Any] = [None, 3, -1, 1.5, float("nan"), float("inf"), "", "x", [], [3], {}, {"a": [None]}, True, 10**30]
OTHERS += [float("-inf"), "a\nb", "\ud800", 10**400]  # two lines, half a character, and what no float holds
SEARCH = AdaptiveStudy(search.PRESETS["quick"], {"batch_size": 4, "regulariser": "beta_tcvae"})
ENVIRONMENT = {"torch": "2", "device": "cpu", "compiled": False, "native": False, "precision": "float32"}


@pytest.fixture
def study(tmp_path: Path, small_study: Callable[..., Study]) -> tuple[Study, StudyDirectory]:
    """A study that has ended, with every file that one can have."""
    study, directory = small_study("study"), StudyDirectory(tmp_path / "results" / "study")
    directory.write_record(study, {"dsprites": "fingerprint"})
    for member in study.members:
        files, log = directory.member(member), MemberLog(directory.member(member).path)
        log.write("started", command="command", iteration=0, device="cpu", node="n", worker="w", address="a")
        files.append_rows([ROW | {"iteration": 2}, ROW])
        files.write_result(member, "finished", [ROW | {"iteration": 2}, ROW], environment=ENVIRONMENT)
        log.write("finished", reason="")
    suggestions = SuggestionLog(directory.path / "suggestions.jsonl")
    suggestions.start(2)
    suggestions.append(0, Suggestion(dict.fromkeys(SEARCH.space.parameters, 1.0), {}))
    save_rates(directory.gpu_rates, [h100().search(44), v100().search(44)])
    return study, directory


def damaged(content: bytes, generator: random.Random) -> bytes:
    """A file that was cut off, or has other bits, or other values than were written."""
    place = generator.randrange(len(content))
    kind = generator.randrange(5)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]
    if kind == 2:
        return content[:place] + generator.choice([b"\0", b"\n3\n", b"\xff\xfe\n", b"[" * 5000]) + content[place:]
    lines = content.splitlines() if content.startswith(b'{"') else [content]
    number = generator.randrange(len(lines))
    value = json.loads(lines[number])
    lines[number] = json.dumps(with_another(value, generator)).encode()
    return b"".join(line + b"\n" for line in lines)


def with_another(value: Any, generator: random.Random) -> Any:
    """The value, or one somewhere within it, is another or is gone."""
    if not isinstance(value, dict | list) or not value or generator.random() < 0.2:
        return generator.choice(OTHERS)
    key = generator.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if generator.random() < 0.2:
        del value[key]
    else:
        value[key] = with_another(value[key], generator)
    return value


def told(read: Callable[[], object]) -> str:
    """The line with which a reader refuses, if it does."""
    try:
        read()
    except InvalidInputError as error:
        return str(error)
    return ""


def readers(study: Study, directory: StudyDirectory) -> dict[Path, list[Callable[[], object]]]:
    """Who reads a file, by file."""
    member = study.members[0]
    files, log = directory.member(member), MemberLog(directory.member(member).path)
    suggestions, console = SuggestionLog(directory.path / "suggestions.jsonl"), Console(file=io.StringIO())
    longer = dataclasses.replace(study, schedule=dataclasses.replace(study.schedule, iterations=8))

    def found() -> list[FoundMember]:
        return list(find_members(directory.path.parent))

    def tables() -> None:
        for rates in read_rates(directory.gpu_rates):
            console.print(rates_table(rates, 1, 1))

    def costs() -> None:
        for there in read_results(directory.path / "members").values():
            for results in there.values():
                cost_of(results, study.schedule)

    def show() -> None:
        stories.show(FoundMember("study", "tau=0", member.content_hash, files), console)

    def fail() -> None:
        files.write_failure(member, ValueError("a fault"))

    return {
        directory.path / "study.json": [
            lambda: directory.require_going_on(longer, {"dsprites": "fingerprint"}),
            lambda: (directory.is_unfinished, found_studies(directory.path.parent)),
            lambda: stories.show_failures(found(), directory.path.parent, console),
            lambda: directory.write_record(longer, {}),
            fail,
        ],
        suggestions.path: [lambda: suggestions.parallel, lambda: SEARCH.search(Mock(), suggestions), fail],
        directory.gpu_rates: [tables, fail],
        files.result: [
            lambda: (files.last_evaluation(4), files.stopped_at, directory.unfinished(longer)),
            lambda: outcome(longer, directory),
            costs,
            show,
            fail,
        ],
        files.rows: [lambda: outcome(longer, directory), fail],
        log.path: [
            lambda: (starts_without_progress(log.read(), "command", 0), silence(log.read())),
            lambda: list(process_logs(log.read(), None, 10)),
            show,
            fail,
        ],
    }


@pytest.mark.fault("damage of a study's files", "never a traceback; a line names the file; known rows are kept")
@pytest.mark.parametrize("times", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_no_damage_ends_in_a_traceback_and_none_costs_rows_that_are_known(
    study: tuple[Study, StudyDirectory],
    times: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("times", times)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the machine does not crash meanwhile
    generator = random.Random(times)
    directory = study[1]
    member = directory.member(study[0].members[0])
    readers_of = readers(*study)
    whole = {path: path.read_bytes() for path in readers_of}
    for path in itertools.islice(itertools.cycle(whole), times):
        content = damaged(whole[path], generator)
        for read in readers_of[path]:
            path.write_bytes(content)
            assert re.fullmatch(rf"|.*{re.escape(str(directory.path))}.*", told(read)), content
        if path not in (member.result, member.rows):
            failed = member.read_result()
            assert failed is not None
            assert len(failed["history"]) == 2
        path.write_bytes(whole[path])
        member.result.write_bytes(whole[member.result])


def test_damage_of_kept_results_is_told(study: tuple[Study, StudyDirectory], tmp_path: Path) -> None:
    generator = random.Random(1)
    path = tmp_path / "kept" / "0123.json"
    content = study[1].member(study[0].members[0]).result.read_bytes()
    path.parent.mkdir()
    for _ in range(100):
        path.write_bytes(damaged(content, generator))
        assert re.fullmatch(rf"|.*{re.escape(str(path.parent))}.*", told(lambda: load_kept(path.parent)))


def test_a_line_in_a_log_that_is_none_is_left_out(tmp_path: Path) -> None:
    log = MemberLog(tmp_path)
    log.write("started", command="command", iteration=3)
    with log.path.open("ab") as file:
        file.write(b"3\n\xff\xfe\nnull\n[1]\n{}\n")
    append_lines(log.path, [{"event": "finished"}])
    log.write("finished")
    assert [event["event"] for event in log.read()] == ["started", "finished"]
    assert starts_without_progress(log.read(), "command", 3) == 1


def test_a_failure_keeps_the_rows_that_are_known(tmp_path: Path, small_study: Callable[..., Study]) -> None:
    """Whether an earlier end has them, or the member's rows."""
    member = small_study("study").members[0]
    for number, known in enumerate(("result", "rows")):
        files = MemberDirectory(tmp_path / str(number))
        if known == "result":
            files.write_result(member, "finished", [ROW | {"iteration": n} for n in range(30)])
        else:
            files.append_rows([ROW | {"iteration": n} for n in range(30)])
        files.write_failure(member, ValueError("a fault"))
        result = files.read_result()
        assert result is not None
        assert (result["status"], len(result["history"])) == ("failed", 30)


@pytest.mark.fault("both checkpoints and the log of a member damaged", "it starts again; all its rows as before")
def test_damage_to_what_a_member_left_costs_no_rows(dataset: Dataset, tmp_path: Path) -> None:
    """Its log tells less, its checkpoint starts again: the same command, with a later end, has all rows once more."""
    trial = Trial(tmp_path / "members", dataset)
    trial.finish()
    first, second = (MemberDirectory(trial.folder / member.content_hash) for member in MEMBERS)
    with (first.path / "log.jsonl").open("ab") as file:
        file.write(b"3\n\xff\xfe\n\0\n")
    for path in second.path.glob("checkpoint*.pt"):
        path.write_bytes(path.read_bytes()[:100])
    known = [trial.result(member)["history"] for member in MEMBERS]
    trial.start(*MEMBERS, schedule=dataclasses.replace(SHORT, iterations=15))
    ends = trial.finish()
    assert [ends[member.content_hash]["status"] for member in MEMBERS] == ["finished", "finished"]
    for member, rows in zip(MEMBERS, known, strict=True):
        history = trial.result(member)["history"]
        assert [row["iteration"] for row in history] == [5, 10, 15]
        assert [row["loss"] for row in history][: len(rows)] == [row["loss"] for row in rows]
        assert [row["iteration"] for row in trial.rows(member)] == [5, 10, 15]
