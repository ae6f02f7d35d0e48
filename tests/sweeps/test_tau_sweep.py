"""The sweep from its command line to results, MLflow, logs and the terminal, on real (tiny) training."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from larvae.config import MemberConfig
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
Results = dict[str, dict[str, Any]]
SHORT = dataclasses.replace(SCHEDULE, iterations=10)


def line_of_table(label: str, output: str) -> str:
    """The line of the final table on a member."""
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
    assert_all_in_mlflow(folder)
    assert not directory.is_unfinished
    first = read_results(folder)
    assert_trained_and_told(first, folder, directory, capsys)

    files = {path: path.stat().st_mtime_ns for path in (directory.path / "members").rglob("*")}
    assert sweep(folder, *flags, schedule=SHORT) == 0
    assert {path: path.stat().st_mtime_ns for path in (directory.path / "members").rglob("*")} == files
    assert "2 of them finished before" in capsys.readouterr().out

    assert sweep(folder, *flags, "1e38") == 1
    results = read_results(folder)
    assert_failed_alone(results, folder, directory, capsys)
    sound = {label: result for label, result in results.items() if label in SOUND}
    monkeypatch.setattr(commands, "read_results", lambda folder: sound)
    assert_as_if_uninterrupted(folder, SCHEDULE, dataset, alone)
    for label, result in sound.items():  # to the second: they were not trained again
        assert result["history"][:2] == first[label]["history"]
        assert [step for step, _ in read_runs(folder)[label].metrics["loss"]] == [5, 10, 15, 20]


def assert_trained_and_told(
    results: Results, folder: Path, directory: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """All have finished, and the terminal says so."""
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"Study {NAME}: 2 members × 10 iterations; 2 at once, 1 CPU and 0.5 GPU each" in printed.out
    assert f"results in {directory.path}\n" in printed.out
    assert statuses(folder) == dict.fromkeys([NAME, *SOUND], "FINISHED")
    assert results.keys() == set(SOUND)
    for label, result in results.items():
        assert [row["iteration"] for row in result["history"]] == [5, 10]
        last = result["history"][-1]
        numbers = [f"{last[metric]:.3f}" for metric in ("mig", "mig_y", "l2")]
        assert line_of_table(label, printed.out).split()[:4] == ["finished", *numbers]


def assert_failed_alone(
    results: Results, folder: Path, directory: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """One member has failed: told on disk, in MLflow, on the terminal and in its log."""
    printed, reason = capsys.readouterr(), results[BROKEN]["reason"]
    assert re.fullmatch(r"NonFiniteLossError: .*\bloss\b.* not finite within 5 iterations to 5", reason)
    assert printed.err == f"error: member {BROKEN} failed: {reason}\n"
    assert line_of_table(BROKEN, printed.out).startswith("failed")
    told = re.findall(r"^(?:Figure|Label traversals|What happened): (.+)$", printed.out, re.MULTILINE)
    assert [words[words.index("--study") + 1] for words in map(shlex.split, told)] == [NAME] * 3
    assert statuses(folder) == {NAME: "FAILED", BROKEN: "FAILED"} | dict.fromkeys(SOUND, "FINISHED")
    assert read_runs(folder)[BROKEN].tags["larvae.reason"] == reason
    assert directory.is_unfinished
    assert (directory.read_record() or {})["preset"] == "quick"
    name = MemberConfig(**results[BROKEN]["config"]).content_hash
    started, failed = MemberLog(directory.path / "members" / name).read()
    assert {"host", "pid", "node", "worker", "address", "device", "command", "iteration"} <= started.keys()
    assert (failed["event"], failed["pid"]) == ("failed", started["pid"])
    assert logs.run([name]) == 1
    assert reason in capsys.readouterr().out
