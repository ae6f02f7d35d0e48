"""The logs of members: written by trials, shown by `python -m sweeps.logs`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from larvae.errors import InvalidInputError
from sweeps import logs
from sweeps.trial.member_log import MOST_STARTS, MemberLog, starts_without_progress
from tests.sweeps.commands import STUDY, sweep


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two studies with three members, of which one has failed."""
    members = {"aaa111": "tau=0 seed=0", "aab222": "tau=1 seed=0"}
    for study, hashes in (("one", members), ("two", {"ccc333": "tau=1 seed=0"})):
        folder = tmp_path / study
        folder.mkdir()
        record = {"members": {name: {"label": label} for name, label in hashes.items()}}
        (folder / "study.json").write_text(json.dumps(record))
    failed = tmp_path / "one" / "members" / "aab222"
    failed.mkdir(parents=True)
    result = {"status": "failed", "reason": "NonFiniteLossError: loss is nan", "traceback": "Traceback: line 7\n"}
    (failed / "result.json").write_text(json.dumps(result))
    MemberLog(failed).write("started", iteration=0, command="c", device="Tesla")
    MemberLog(failed).write("failed", reason="NonFiniteLossError: loss is nan")
    return tmp_path


def show(storage: Path, *arguments: str) -> int:
    return logs.run([*arguments, "--storage-path", str(storage)])


def test_a_failed_member_tells_why_and_where(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(storage, "aab") == 1
    text = capsys.readouterr().out
    assert "one: tau=1 seed=0" in text
    assert "failed NonFiniteLossError: loss is nan" in text
    assert "Traceback: line 7" in text
    assert os.uname().nodename in text
    assert str(os.getpid()) in text
    assert "Tesla" in text


def test_members_are_found_by_their_values(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(storage, "seed=0 tau=1", "--study", "one") == 1
    assert show(storage, "tau=0") == 0
    assert "has not ended" in capsys.readouterr().out


def test_names_and_paths_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "all [red]" / "50% [x] :bug:" / "study.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"members": {"aaa111": {"label": "tau=0 seed=0"}}}))
    assert show(record.parents[1], "aaa") == 0
    assert show(record.parents[1]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["50% [x] :bug:: tau=0 seed=0  aaa111", str(record.parent / "members" / "aaa111")]
    assert printed[-1] == f"0 of 1 members in `{record.parents[1]}` have failed"


def test_failures_are_listed(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(storage) == 0
    text = capsys.readouterr().out
    assert "aab222" in text
    assert "aaa111" not in text
    assert f"1 of 3 members in `{storage}` have failed" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zzz"], "got 'zzz', which none of 3 has"),
        (["aa"], "got 'aa', which 2 have: aaa111"),
        (["tau=1"], "which 2 have: aab222 (one: tau=1 seed=0), ccc333 (two"),
        (["aaa", "--study", "three"], "must hold the study"),
    ],
)
def test_bad_input_is_one_line(storage: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        show(storage, *arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_that_is_not_whole_is_left_out(tmp_path: Path) -> None:
    log = MemberLog(tmp_path)
    assert log.read() == []
    log.write("started", iteration=1)
    with log.path.open("a") as file:
        file.write('{"event": "fini')
    assert [event["event"] for event in log.read()] == ["started"]


def test_starts_are_counted_at_one_iteration_of_one_command() -> None:
    def start(command: str, iteration: int) -> dict[str, Any]:
        return {"event": "started", "command": command, "iteration": iteration}

    events = [start("a", 0), start("b", 0), {"event": "failed"}, start("b", 0), start("b", 5)]
    assert starts_without_progress(events, "b", 0) == 2
    assert starts_without_progress(events, "b", 5) == 1
    assert starts_without_progress(events, "c", 0) == 0
    assert starts_without_progress([start("b", 0), {"event": "fault"}, start("b", 0)], "b", 0) == 1


@pytest.mark.usefixtures("ray_session")
def test_trials_write_them(folder_with_database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(folder_with_database, "--taus", "0", "1") == 0
    for path in sorted((folder_with_database / "results" / STUDY / "members").glob("*")):
        first, last = MemberLog(path).read()
        assert (first["event"], first["iteration"], last["event"]) == ("started", 0, "finished")
        assert {"host", "pid", "node", "worker", "address", "device", "command"} <= first.keys()
        assert last["pid"] == first["pid"]
    capsys.readouterr()
    assert logs.run(["tau=1"]) == 0
    text = capsys.readouterr().out
    assert "finished" in text
    assert f"process {first['pid']} on" in text or "process" in text


@pytest.mark.usefixtures("ray_session")
def test_a_member_whose_process_always_dies_at_one_iteration_is_given_up(
    folder_with_database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sweeps.preparation.secrets.token_hex", lambda size: "command")
    assert sweep(folder_with_database, "--taus", "0", "--iterations", "10") == 0
    (path,) = (folder_with_database / "results" / STUDY / "members").glob("*")
    for _ in range(MOST_STARTS):
        MemberLog(path).write("started", command="command", iteration=10)
    assert sweep(folder_with_database, "--taus", "0") == 1
    assert f"its process died {MOST_STARTS} times after iteration 10" in capsys.readouterr().err
    monkeypatch.setattr("sweeps.preparation.secrets.token_hex", lambda size: "another")
    assert sweep(folder_with_database, "--taus", "0") == 0  # the next command tries again
