"""The sweep from its command line to results, MLflow, logs and the terminal, on real (tiny) training."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from larvae.datasets import Dataset
from sweeps import logs
from sweeps.study import StudyDirectory
from sweeps.trial.member_log import MemberLog
from tests.sweeps import commands
from tests.sweeps.commands import (
    SCHEDULE,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    read_results,
    read_runs,
    statuses,
    sweep,
)

NAME = "a b #1?50%[x] :bug:"
"""Printed as it is, and quoted in commands."""
SOUND = [f"tau={tau} label_rate=0.01 seed=0" for tau in (0, 1)]
BROKEN = "tau=1e+38 label_rate=0.01 seed=0"
SHORT = dataclasses.replace(SCHEDULE, iterations=10)


def line_of_table(label: str, output: str) -> str:
    """What the final table says of a member."""
    lines = re.findall(rf"^ *{re.escape(label)} +((?:finished|failed|unfinished).*)$", output, re.MULTILINE)
    assert len(lines) == 1, output
    return lines[0]


@pytest.mark.usefixtures("ray_session")
def test_a_study_trains_once_and_goes_on_to_a_raised_end_where_one_that_diverges_fails_alone(
    folder_with_database: Path,
    dataset: Dataset,
    alone: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On shares of GPUs that do not exist: members train where they can."""
    folder = folder_with_database
    monkeypatch.setattr(commands, "STUDY", NAME)
    directory = StudyDirectory(folder / "results" / NAME)
    flags = ("--study", NAME, "--gpus-per-trial", "0.5", "--members-per-trial", "1", "--taus", "0", "1")

    assert sweep(folder, *flags, schedule=SHORT) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"Study {NAME}: 2 members × 10 iterations; 2 at once, 1 CPU and 0.5 GPU each" in printed.out
    assert f"results in {directory.path}\n" in printed.out
    assert statuses(folder) == dict.fromkeys([NAME, *SOUND], "FINISHED")
    assert not directory.is_unfinished
    first = read_results(folder)
    assert first.keys() == set(SOUND)
    for label, result in first.items():
        assert [row["iteration"] for row in result["history"]] == [5, 10]
        last = result["history"][-1]
        numbers = [f"{last[metric]:.3f}" for metric in ("mig", "mig_y", "l2")]
        assert line_of_table(label, printed.out).split()[:4] == ["finished", *numbers]
    assert_all_in_mlflow(folder)

    files = {path: path.stat().st_mtime_ns for path in (directory.path / "members").rglob("*")}
    assert sweep(folder, *flags, schedule=SHORT) == 0
    assert {path: path.stat().st_mtime_ns for path in (directory.path / "members").rglob("*")} == files
    assert "2 of them finished before" in capsys.readouterr().out

    assert sweep(folder, *flags, "1e38") == 1
    printed = capsys.readouterr()
    results = read_results(folder)
    reason = results[BROKEN]["reason"]
    assert re.fullmatch(r"NonFiniteLossError: .*\bloss\b.* not finite within 5 iterations to 5", reason)
    assert printed.err == f"error: member {BROKEN} failed: {reason}\n"
    assert line_of_table(BROKEN, printed.out).startswith("failed")
    told = re.findall(r"^(?:Figure|Label traversals|What happened): (.+)$", printed.out, re.MULTILINE)
    assert [words[words.index("--study") + 1] for words in map(shlex.split, told)] == [NAME] * 3
    assert statuses(folder) == {NAME: "FAILED", BROKEN: "FAILED"} | dict.fromkeys(SOUND, "FINISHED")
    assert read_runs(folder)[BROKEN].tags["larvae.reason"] == reason
    assert directory.is_unfinished
    assert (directory.read_record() or {})["preset"] == "quick"
    for label in SOUND:  # to the second: they were not trained again
        assert results[label]["history"][:2] == first[label]["history"]
    assert_all_in_mlflow(folder)
    member = next(
        path for path in (directory.path / "members").iterdir() if '"failed"' in (path / "log.jsonl").read_text()
    )
    started, failed = MemberLog(member).read()
    assert {"host", "pid", "node", "worker", "address", "device", "command", "iteration"} <= started.keys()
    assert (failed["event"], failed["pid"]) == ("failed", started["pid"])
    assert logs.run([member.name]) == 1
    assert reason in capsys.readouterr().out
    sound = {label: result for label, result in results.items() if label in SOUND}
    monkeypatch.setattr(commands, "read_results", lambda folder: sound)
    assert_as_if_uninterrupted(folder, SCHEDULE, dataset, alone)
