"""The search as a command: real (tiny) training, stopped, killed, raised, and bad input."""

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

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.member_directory import MemberDirectory
from sweeps import options, search
from sweeps.adaptive.suggestion_log import SuggestionLog
from sweeps.study import StudyDirectory
from tests.sweeps.commands import places, tracking_uri, without_times
from tests.sweeps.processes import running, wait_until

STUDY = "tiny-search"
TINY = (
    *("--preset", "quick", "--study", STUDY, "--batch-size", "4", "--evaluation-size", "200", "--no-compile"),
    *("--log-every", "5", "--evaluate-every", "10", "--first-rung", "10", "--gpus-per-trial", "0"),
    *("--space", "tau=0.1:10:log:zero", "gamma_tc=1:20:log"),
)
SIZE = ("--iterations", "40", "--configurations", "6")


def run(folder: Path, *flags: str) -> tuple[int, str]:
    """Run the search in this process, whose handlers of signals stay as they are; exit code and output."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with redirect_stdout(io.StringIO()) as output:
            return search.run([*TINY, *places(folder), *flags]), output.getvalue()
    finally:
        signal.signal(signal.SIGTERM, handler)


def log_of(folder: Path, study: str = STUDY) -> SuggestionLog:
    return SuggestionLog(folder / "results" / study / "suggestions.jsonl")


def results_of(folder: Path, study: str = STUDY) -> dict[str, dict[str, Any]]:
    """What all members left on disk, by hash."""
    members = (folder / "results" / study / "members").iterdir()
    return {member.name: result for member in members if (result := MemberDirectory(member).read_result())}


def story(folder: Path, study: str = STUDY) -> dict[str, tuple[str, int | None, list[Any]]]:
    """How each member ended and, for those that trained to the end, what it came to."""
    return {
        name: (
            result["status"],
            result.get("stopped_at"),
            without_times(result["history"]) if result["status"] == "finished" else [],
        )
        for name, result in results_of(folder, study).items()
    }


def runs_of(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The study's own run, and its members' by hash; two of one member are an error."""
    client = MlflowClient(tracking_uri(folder))
    experiment = client.get_experiment_by_name(STUDY)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    [parent] = [run for run in runs if run.data.tags["larvae.role"] == "study"]
    members = [run for run in runs if run is not parent]
    by_hash = {run.data.tags["larvae.member"]: run for run in members}
    assert len(by_hash) == len(members)
    return parent, by_hash


@pytest.fixture(scope="module")
def searched(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("searched")
    code, output = run(folder, *SIZE)
    assert code == 0
    return folder, output


def test_a_search_tells_what_it_found(searched: tuple[Path, str]) -> None:
    folder, output = searched
    assert "6 configurations × up to 40 iterations" in output
    assert "the best 1/3 goes on at 10 and 30 iterations" in output
    assert re.search(r"6 configurations: \d finished", output)
    assert f"analysis/search_report.py --tracking-uri {tracking_uri(folder)} --study {STUDY}" in output
    assert len(log_of(folder).read()) == 6
    directory = StudyDirectory(folder / "results" / STUDY)
    assert not directory.is_unfinished
    assert (directory.read_record() or {})["preset"] == "quick"


def test_members_are_trained_to_the_end_or_stopped_at_a_rung(searched: tuple[Path, str]) -> None:
    results = results_of(searched[0])
    assert {result["status"] for result in results.values()} == {"finished", "stopped"}
    for name, result in results.items():
        assert MemberConfig(**result["config"]).content_hash == name
        assert result["config"]["held_out"] == 0.1
        last = result["history"][-1]
        if result["status"] == "finished":
            assert last["iteration"] == 40
            assert {"mig", "l2", "held_out_mig", "held_out_l2"} <= last.keys()
        else:
            assert result["stopped_at"] in (10, 30)
            assert "not among the best" in result["reason"]
            assert any(row["iteration"] == result["stopped_at"] and "held_out_mig" in row for row in result["history"])


def test_the_best_configuration_has_all_seeds(searched: tuple[Path, str]) -> None:
    seeds: dict[str, list[float]] = {}
    for result in results_of(searched[0]).values():
        if result["status"] == "finished":
            where = json.dumps({n: v for n, v in result["config"].items() if n != "seed"}, sort_keys=True)
            seeds.setdefault(where, []).append(result["history"][-1]["held_out_mig"])
    best = max(seeds.values(), key=lambda values: sum(values) / len(values))
    assert len(best) == 3


def test_mlflow_has_every_member_once_and_never_mixes_stopped_with_finished(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    parent, members = runs_of(folder)
    results = results_of(folder)
    assert parent.info.status == "FINISHED"
    described = json.loads(parent.data.tags["larvae.search"])
    assert (described["space"].keys(), described["rungs"]) == ({"tau", "gamma_tc"}, [10, 30])
    assert members.keys() == results.keys()
    suggestions = log_of(folder).read()
    for name, result in results.items():
        tags = members[name].data.tags
        assert json.loads(tags["larvae.point"]) == suggestions[int(tags["larvae.configuration"])].point
        if result["status"] == "finished":
            assert members[name].info.status == "FINISHED"
            assert "larvae.stopped_at" not in tags
            assert members[name].data.metrics["held_out_mig"] == result["history"][-1]["held_out_mig"]
        else:
            assert members[name].info.status == "KILLED"
            assert tags["larvae.stopped_at"] == str(result["stopped_at"])


def test_the_same_command_again_trains_nothing_and_more_configurations_go_on(
    searched: tuple[Path, str], ray_session: None
) -> None:
    folder, _ = searched
    before, suggested = results_of(folder), log_of(folder).read()
    code, output = run(folder, *SIZE)
    assert (code, results_of(folder)) == (0, before)
    assert "6 configurations, 6 of them suggested before" in output
    assert run(folder, "--iterations", "40", "--configurations", "8")[0] == 0
    assert log_of(folder).read()[:6] == suggested
    assert len(log_of(folder).read()) == 8
    assert {name: result for name, result in results_of(folder).items() if name in before} == before
    assert runs_of(folder)[1].keys() == results_of(folder).keys()


def test_raised_iterations_go_on_from_checkpoints(ray_session: None, folder_with_database: Path) -> None:
    folder = folder_with_database
    size = ("--configurations", "4", "--seeds", "1", "--first-rung", "20")
    assert run(folder, *size, "--iterations", "20")[0] == 0
    first = results_of(folder)
    assert {result["status"] for result in first.values()} == {"finished"}
    assert run(folder, *size, "--iterations", "40")[0] == 0
    second = results_of(folder)
    assert second.keys() == first.keys()
    assert {result["status"] for result in second.values()} == {"finished", "stopped"}
    for name, result in second.items():
        assert result["history"][: len(first[name]["history"])] == first[name]["history"]  # to the second


def test_killed_in_the_middle_it_comes_to_the_same_end(
    searched: tuple[Path, str], ray_session: None, folder_with_database: Path, tmp_path: Path, dataset: Dataset
) -> None:
    """SIGKILL once something has been stopped and something trains; then the same command."""
    folder = folder_with_database
    command = [sys.executable, search.__file__, *TINY, *places(folder), *SIZE]
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
    assert any(run.info.status == "RUNNING" for run in runs_of(folder)[1].values())
    assert run(folder, *SIZE)[0] == 0
    reference = {number: s.point for number, s in enumerate(log_of(searched[0]).read()[:6])}
    assert {number: s.point for number, s in enumerate(log_of(folder).read())} == reference
    ours, uninterrupted = story(folder), story(searched[0])
    assert ours == {name: uninterrupted[name] for name in ours}
    statuses = {run.info.status for run in runs_of(folder)[1].values()}
    assert statuses == {"FINISHED", "KILLED"}
    assert runs_of(folder)[1].keys() == ours.keys()


# Bad input


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--space", "tau=10:0.1:log"], "`tau` must have low < high, got low 10 and high 0.1"),
        (["--space", "tau=0:10:log"], "`tau` must have low > 0 to be searched by its logarithm"),
        (["--space", "beta=1:2"], "`space` must be one of tau, "),
        (["--space", "tau=1"], "`tau` must have two values or more, got 1: fix it with --tau"),
        (["--space", "alpha=1:10", "--alpha", "3"], "`alpha` must be searched or fixed, not both"),
        (["--space", "label_rate=0.5:1.5"], "`label_rate` must lie in (0, 1], got 1.5"),
        (["--space", "label_rate=1e-7,0.01"], "`label_rate` must leave a labelled image"),
        (["--space-file", "missing.toml"], "`space_file` must be a TOML file, got `missing.toml`: No such file"),
        (["--sampler", "grid"], "`sampler` must be one of tpe, gp, cmaes, sobol, random, got grid"),
        (["--objectives", "fid"], "`objectives` must be one of mig, l2, got fid"),
        (["--stopper", "hyperband"], "`stopper` must be one of asha, none, got hyperband"),
        (
            ["--objectives", "mig", "l2", "--stopper", "asha"],
            "`stopper` asha ranks by one objective, got mig and l2: give --stopper none, or one of --objectives",
        ),
        (["--sampler", "gp", "--stopper", "asha"], "`stopper` asha must go with tpe, sobol, random, got gp"),
        (["--sampler", "cmaes", "--objectives", "mig", "l2"], "`sampler` cmaes takes one objective, got 2"),
        (["--configurations", "0"], "`configurations` must be > 0, got 0"),
        (["--first-seeds", "4"], "`first_seeds` must be <= seeds (3), got 4"),
        (["--held-out", "0"], "`held_out` must be > 0"),
        (["--reduction", "1"], "`reduction` must be >= 2, got 1"),
        (["--parallel", "0"], "`parallel` must be > 0, got 0"),
        (["--price", "-1"], "`price` must be finite and >= 0, got -1.0"),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(
    flags: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py", "--preset", "quick", *flags])
    assert options.main(search.run) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith(f"error: {message}")
    assert list(folder.iterdir()) == []


def test_a_study_keeps_its_space_and_grids_keep_out(
    searched: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = searched
    before = results_of(folder)
    for flags, message in (
        (["--space", "tau=0.1:5:log"], r"a study keeps its space, but .* has tau=0\.1:10:log:zero gamma_tc=1:20:log"),
        (["--sampler", "random"], "a study keeps its sampler, but .* has tpe, got random"),
    ):
        monkeypatch.setattr(sys, "argv", ["search.py", *TINY, *places(folder), *SIZE, *flags])
        assert options.main(search.run) == 2
        assert re.match(f"error: {message}", capsys.readouterr().err)
    assert results_of(folder) == before
