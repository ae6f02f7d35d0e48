"""The logs of members, as `python -m sweeps.logs` shows them; trials write them in tests/sweeps/trial."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from larvae.errors import InvalidInputError
from sweeps import logs
from sweeps.trial.member_log import MemberLog


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two studies with three members, of which one has failed."""
    members = {"aaa111": "tau=0 seed=0", "aab222": "tau=1 seed=0"}
    for study, hashes in (("50% [x] :bug:", members), ("two", {"ccc333": "tau=1 seed=0"})):
        folder = tmp_path / study
        folder.mkdir()
        record = {"members": {name: {"label": label} for name, label in hashes.items()}}
        (folder / "study.json").write_text(json.dumps(record))
    failed = tmp_path / "50% [x] :bug:" / "members" / "aab222"
    failed.mkdir(parents=True)
    result = {"status": "failed", "reason": "NonFiniteLossError: loss is nan", "traceback": "Traceback: line 7\n"}
    (failed / "result.json").write_text(json.dumps(result | {"config": {}, "history": []}))
    MemberLog(failed).write("started", iteration=0, command="c", device="Tesla")
    MemberLog(failed).write("failed", reason="NonFiniteLossError: loss is nan")
    return tmp_path


def show(storage: Path, *arguments: str) -> int:
    return logs.run([*arguments, "--storage-path", str(storage)])


def test_a_failed_member_tells_why_and_where(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is found by its hash or its values; names are printed as they are."""
    assert show(storage, "seed=0 tau=1", "--study", "two") == 0
    assert capsys.readouterr().out.startswith("two: tau=1 seed=0  ccc333")
    assert show(storage, "aab", "--study", "50% [x] :bug:") == 1
    text = capsys.readouterr().out
    first = ("50% [x] :bug:: tau=1 seed=0  aab222", str(storage / "50% [x] :bug:" / "members" / "aab222"))
    assert text.startswith("\n".join(first))
    told = ("failed NonFiniteLossError: loss is nan", "Traceback: line 7", os.uname().nodename, str(os.getpid()))
    assert [words for words in (*told, "Tesla") if words not in text] == []
    assert show(storage, "tau=0") == 0
    assert "has not ended" in capsys.readouterr().out
    assert show(storage) == 0
    text = capsys.readouterr().out
    assert ("aab222" in text, "aaa111" in text) == (True, False)
    assert f"1 of 3 members in `{storage}` have failed" in text


def test_bad_input_is_one_line(storage: Path) -> None:
    for arguments, message in (
        (["zzz"], "got 'zzz', which none of 3 has"),
        (["aa"], "got 'aa', which 2 have: aaa111"),
        (["tau=1"], "which 2 have: aab222 (50% [x] :bug:: tau=1 seed=0), ccc333 (two"),
        (["aaa", "--study", "three"], "must hold the study"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            show(storage, *arguments)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("study", ["/dev/null", "../two", "a\0b"])
def test_a_study_is_no_path(storage: Path, study: str) -> None:
    with pytest.raises(InvalidInputError, match="`study` must be usable as a folder's name"):
        show(storage, "--study", study)
