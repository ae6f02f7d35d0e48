"""The sweep from its command line to results, MLflow and the terminal, on real (tiny) training."""

from __future__ import annotations

import dataclasses
import io
import re
import shlex
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from larvae.datasets import Dataset
from sweeps.study import StudyDirectory
from tests.sweeps.commands import (
    SCHEDULE,
    STUDY,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    read_results,
    read_runs,
    statuses,
    sweep,
)

pytestmark = pytest.mark.usefixtures("ray_session")


def line_of_table(label: str, output: str) -> str:
    """What the final table says of a member."""
    lines = re.findall(rf"^ *{re.escape(label)} +((?:finished|failed|unfinished).*)$", output, re.MULTILINE)
    assert len(lines) == 1, output
    return lines[0]


def modification_times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "results" / STUDY / "members").rglob("*")}


def test_a_study_trains_once_and_goes_on_to_a_raised_end(
    folder_with_database: Path, dataset: Dataset, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_with_database
    grid = ("--taus", "0", "1", "--label-rates", "0.01", "0.02", "--gpus-per-trial", "0")
    labels = [f"tau={tau} label_rate={rate} seed=0" for tau in (0, 1) for rate in (0.01, 0.02)]

    assert sweep(folder, *grid) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert statuses(folder) == dict.fromkeys([STUDY, *labels], "FINISHED")
    assert not StudyDirectory(folder / "results" / STUDY).is_unfinished
    first = read_results(folder)
    assert first.keys() == set(labels)
    for label, result in first.items():
        assert [row["iteration"] for row in result["history"]] == [5, 10, 15, 20]
        last = result["history"][-1]
        assert line_of_table(label, printed.out).split()[:4] == [
            "finished",
            *(f"{last[metric]:.3f}" for metric in ("mig", "mig_y", "l2")),
        ]
    assert_all_in_mlflow(folder)

    before = modification_times(folder)
    assert sweep(folder, *grid) == 0
    assert modification_times(folder) == before
    printed = capsys.readouterr()
    assert "4 of them finished before" in printed.out
    assert all(line_of_table(label, printed.out).startswith("finished") for label in labels)
    assert statuses(folder) == dict.fromkeys([STUDY, *labels], "FINISHED")

    raised = dataclasses.replace(SCHEDULE, iterations=30)
    assert sweep(folder, *grid, schedule=raised) == 0
    for label, result in read_results(folder).items():
        assert result["history"][:4] == first[label]["history"]  # to the second: they were not trained again
        assert [row["iteration"] for row in result["history"]] == [5, 10, 15, 20, 25, 30]
    assert_as_if_uninterrupted(folder, raised, dataset, alone)
    assert_all_in_mlflow(folder)
    assert statuses(folder) == dict.fromkeys([STUDY, *labels], "FINISHED")


class Ended(NamedTuple):
    """A sweep of τ = 0 and of one so large that its loss is infinite, on shares of GPUs that do not exist."""

    folder: Path
    code: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def diverged(ray_session: None, empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("diverged")
    shutil.copy(empty_database, folder / "mlflow.db")
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        code = sweep(folder, "--taus", "0", "1e38")
    return Ended(folder, code, output.getvalue(), errors.getvalue())


SOUND, BROKEN = "tau=0 label_rate=0.01 seed=0", "tau=1e+38 label_rate=0.01 seed=0"


def test_a_member_that_diverges_fails_alone(diverged: Ended) -> None:
    results = read_results(diverged.folder)
    assert results.keys() == {SOUND, BROKEN}
    assert (results[SOUND]["status"], results[SOUND]["history"][-1]["iteration"]) == ("finished", 20)
    assert results[BROKEN]["status"] == "failed"
    reason = results[BROKEN]["reason"]
    assert re.fullmatch(r"NonFiniteLossError: .*\bloss\b.* not finite within 5 iterations to 5", reason)
    assert "Traceback" in results[BROKEN]["traceback"]
    runs = read_runs(diverged.folder)
    assert {name: run.status for name, run in runs.items()} == {STUDY: "FAILED", SOUND: "FINISHED", BROKEN: "FAILED"}
    assert runs[BROKEN].tags["larvae.reason"] == reason
    assert diverged.code == 1
    directory = StudyDirectory(diverged.folder / "results" / STUDY)
    assert directory.is_unfinished
    assert (directory.read_record() or {})["preset"] == "quick"
    assert diverged.errors == f"error: member {BROKEN} failed: {reason}\n"
    assert line_of_table(SOUND, diverged.output).startswith("finished")
    assert line_of_table(BROKEN, diverged.output).startswith("failed")


def test_trials_take_shares_of_gpus_and_train_where_they_can(diverged: Ended) -> None:
    assert "2 at once, 1 CPU and 0.167 GPU each" in diverged.output
    environment = read_results(diverged.folder)[SOUND]["environment"]
    assert (environment["compiled"], environment["torch"] != "") == (False, True)


def test_a_studys_name_is_printed_as_it_is_and_quoted_in_commands(
    folder_with_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = "a b #1?50%[x] :bug:"
    assert sweep(folder_with_database, "--study", study, "--taus", "1e38", "--gpus-per-trial", "0") == 1
    printed = capsys.readouterr().out
    assert f"Study {study}: 1 members" in printed
    assert f"results in {folder_with_database / 'results' / study}\n" in printed
    commands = re.findall(r"^(?:Figure|Label traversals|What happened): (.+)$", printed, re.MULTILINE)
    assert len(commands) == 3
    for words in map(shlex.split, commands):
        assert words[words.index("--study") + 1] == study
