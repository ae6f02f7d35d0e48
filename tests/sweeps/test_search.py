"""The search as a command: real (tiny) training, stopped, killed and extended."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from larvae.member_directory import MemberDirectory
from sweeps import options, search
from sweeps.adaptive.suggestion_log import SuggestionLog
from sweeps.member_logs.found_members import find_members
from sweeps.study import StudyDirectory
from tests.sweeps.commands import places, tracking_uri, without_times
from tests.sweeps.processes import running, wait_until

pytestmark = pytest.mark.slow  # without Ray, and fast: tests/sweeps/adaptive
STUDY = "tiny-search"
TINY = (
    *("--preset", "quick", "--study", STUDY, "--batch-size", "4", "--evaluation-size", "200", "--no-compile"),
    *("--log-every", "5", "--evaluate-every", "10", "--first-rung", "10", "--gpus-per-trial", "0"),
    *("--space", "tau=0.1:10:log:zero", "gamma_tc=1:20:log", "--iterations", "40", "--configurations", "6"),
)


def run(folder: Path, *flags: str) -> tuple[int, str]:
    """Run the search in this process, whose handlers of signals stay as they are; exit code and output."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with redirect_stdout(io.StringIO()) as output:
            return search.run([*TINY, *places(folder), *flags]), output.getvalue()
    finally:
        signal.signal(signal.SIGTERM, handler)


def suggested(folder: Path) -> list[Any]:
    return [suggestion.point for suggestion in SuggestionLog(folder / "results" / STUDY / "suggestions.jsonl").read()]


def results_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The results of all members on disk, by hash."""
    members = (folder / "results" / STUDY / "members").iterdir()
    return {member.name: result for member in members if (result := MemberDirectory(member).read_result())}


def story(folder: Path) -> dict[str, tuple[Any, ...]]:
    """The end of each member and, for those that trained to the end, what it came to."""
    return {
        name: (r["status"], r.get("stopped_at"), without_times(r["history"]) if r["status"] == "finished" else [])
        for name, r in results_of(folder).items()
    }


def runs_of(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The study's own run, and its members' by hash; two of one member are an error."""
    client = MlflowClient(tracking_uri(folder))
    runs = client.search_runs([client.get_experiment_by_name(STUDY).experiment_id], max_results=1000)
    [parent] = [run for run in runs if run.data.tags["larvae.role"] == "study"]
    by_hash = {run.data.tags["larvae.member"]: run for run in runs if run is not parent}
    assert len(by_hash) == len(runs) - 1
    return parent, by_hash


@pytest.fixture(scope="module")
def searched(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("searched")
    code, output = run(folder)
    assert code == 0
    return folder, output


def test_a_search_tells_what_it_found_and_mlflow_never_mixes_stopped_with_finished(searched: tuple[Path, str]) -> None:
    folder, output = searched
    assert "6 configurations × up to 40 iterations" in output
    assert "the best 1/3 goes on at 10 and 30 iterations" in output
    assert re.search(r"6 configurations: \d finished", output)
    assert f"analysis/search_report.py --tracking-uri {tracking_uri(folder)} --study {STUDY}" in output
    assert not StudyDirectory(folder / "results" / STUDY).is_unfinished
    results, points = results_of(folder), suggested(folder)
    parent, runs = runs_of(folder)
    assert (parent.info.status, runs.keys()) == ("FINISHED", results.keys())
    assert json.loads(parent.data.tags["larvae.search"])["rungs"] == [10, 30]
    assert {result["status"] for result in results.values()} == {"finished", "stopped"}
    values: dict[int, list[float]] = {}
    for name, result in results.items():
        last, member, status = result["history"][-1], runs[name], runs[name].info.status
        number = int(member.data.tags["larvae.configuration"])
        assert json.loads(member.data.tags["larvae.point"]) == points[number]
        assert result["config"]["held_out"] == 0.1
        if result["status"] == "finished":
            assert (last["iteration"], status, "larvae.stopped_at" in member.data.tags) == (40, "FINISHED", False)
            assert {"mig", "l2", "held_out_mig", "held_out_l2"} <= last.keys()
            assert member.data.metrics["held_out_mig"] == last["held_out_mig"]
            values.setdefault(number, []).append(last["held_out_mig"])
        else:
            assert (status, member.data.tags["larvae.stopped_at"]) == ("KILLED", str(result["stopped_at"]))
            assert "not among the best" in result["reason"]
    assert len(max(values.values(), key=lambda each: sum(each) / len(each))) == 3  # all seeds, of the best


@pytest.mark.fault("a search killed mid-way (SIGKILL)", "the same suggestions, verdicts and numbers as undisturbed")
def test_killed_in_the_middle_it_comes_to_the_same_end(
    searched: tuple[Path, str], ray_session: None, folder_with_database: Path, tmp_path: Path
) -> None:
    """SIGKILL once something has been stopped and something trains; then the same command."""
    folder = folder_with_database
    command = [sys.executable, search.__file__, *TINY, *places(folder)]
    members = folder / "results" / STUDY / "members"
    with running(command, folder, tmp_path / "killed.txt") as process:

        def is_in_the_middle() -> bool:
            ended = {path.parent.name for path in members.glob("*/result.json")}
            started = {path.name for path in members.glob("*")}
            return process.poll() is not None or (len(ended) >= 2 and bool(started - ended))

        wait_until(is_in_the_middle, "ended and unfinished members")
        assert process.poll() is None, (tmp_path / "killed.txt").read_text()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert runs_of(folder)[0].info.status == "RUNNING"
    known = {member.name for member in find_members(folder / "results", STUDY)}
    assert known >= {path.name for path in members.glob("*")}  # which `sweeps.logs` and `sweeps.studies` tell
    assert run(folder)[0] == 0
    assert (suggested(folder), story(folder)) == (suggested(searched[0]), story(searched[0]))
    assert {run.info.status for run in runs_of(folder)[1].values()} == {"FINISHED", "KILLED"}


def test_members_that_share_trials_come_to_the_same_end(
    ray_session: None, folder_with_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However many train together: the same suggestions, the same verdicts, the same numbers."""
    alone, folder = tmp_path_factory.mktemp("alone"), folder_with_database
    assert run(alone, "--parallel", "4")[0] == 0
    code, output = run(folder, "--parallel", "4", "--members-per-trial", "8")
    assert code == 0
    assert "trials of 8 members at once" in output
    assert (suggested(folder), story(folder)) == (suggested(alone), story(alone))
    assert {run.info.status for run in runs_of(folder)[1].values()} == {"FINISHED", "KILLED"}


def test_the_same_command_again_trains_nothing_and_more_configurations_go_on(
    searched: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same space and sampler: a study keeps them. It is the last test, as the study is another one then."""
    folder, _ = searched
    before, points = results_of(folder), suggested(folder)
    code, output = run(folder)
    assert (code, results_of(folder)) == (0, before)
    assert "6 configurations, 6 of them suggested before" in output
    for flags, message in (
        (["--space", "tau=0.1:5:log"], r"a study keeps its space, but .* has tau=0\.1:10:log:zero gamma_tc=1:20:log"),
        (["--sampler", "random"], "a study keeps its sampler, but .* has tpe, got random"),
    ):
        monkeypatch.setattr(sys, "argv", ["search.py", *TINY, *places(folder), *flags])
        assert options.main(search.run) == 2
        assert re.match(f"error: {message}", capsys.readouterr().err)
    assert results_of(folder) == before
    assert run(folder, "--configurations", "8")[0] == 0
    assert (suggested(folder)[:6], len(suggested(folder))) == (points, 8)
    assert {name: result for name, result in results_of(folder).items() if name in before} == before
