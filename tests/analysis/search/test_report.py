"""From a search's runs in MLflow to its pictures, numbers, page and journal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis import search_report
from larvae.errors import InvalidInputError
from sweeps.analysis.search.load_search import find_search, load_search
from tests.analysis.outcome import Script
from tests.analysis.search.invented_search import SEARCHES, InventedSearch, describe, log_search, of_tau, record

DATA = [f"search_{end}" for end in ("configurations.csv", "journal.log", "report.html", "seeds.csv", "seeds.parquet")]


@pytest.fixture(scope="module")
def odd_uri(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """A database with a step that was logged twice, tags that cannot be read, and a search without members."""
    path = tmp_path_factory.mktemp("odd") / "mlflow.db"
    shutil.copy(empty_database, path)
    client = MlflowClient(f"sqlite:///{path}")
    for name, tag in (("twice", ""), ("larvae.search", "larvae.search"), ("larvae.point", "larvae.point")):
        log_search(client, name, of_tau({}))
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        for run in client.search_runs([experiment.experiment_id]):
            if tag in run.data.tags:
                client.set_tag(run.info.run_id, tag, "{tau")
            if name == "twice" and run.data.tags["larvae.role"] == "member":
                client.log_metric(run.info.run_id, "held_out_mig", 0.5, timestamp=1_800_000_000_000, step=900)
    log_search(client, "without-rows", of_tau({"status": "FAILED", "until": 0}, {"status": "SCHEDULED", "until": 0}))
    log_search(client, "without-members", InventedSearch(describe(), []))
    return f"sqlite:///{path}"


@pytest.mark.parametrize("name", SEARCHES)
def test_what_was_logged_is_read(tracking_uri: str, name: str) -> None:
    read, expected = load_search(tracking_uri, name), record(SEARCHES[name], name)
    assert read.description == json.loads(json.dumps(expected.description))
    columns = [column for column in expected.members if column != "name"]
    pairs = [(read.members[columns], expected.members[columns], ["hash"])]
    pairs.append((read.evaluations, expected.evaluations, ["hash", "iteration"]))
    for one, other, keys in pairs:
        ours, theirs = (frame.sort_values(keys, ignore_index=True) for frame in (one, other))
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)


def test_the_newest_search_is_found_and_sweeps_are_passed_over(tracking_uri: str) -> None:
    assert find_search(tracking_uri) == "over-tau"


def test_a_step_that_was_logged_twice_counts_once(odd_uri: str) -> None:
    evaluations = load_search(odd_uri, "twice").evaluations
    assert list(evaluations["iteration"]) == list(range(100, 1000, 100))
    assert evaluations["held_out_mig"].iloc[-1] == 0.5


def test_of_members_without_rows_failed_ones_have_the_times_of_their_runs_and_scheduled_ones_none(
    odd_uri: str,
) -> None:
    members = load_search(odd_uri, "without-rows").members.set_index("status")
    assert 0 < members["started_at"]["FAILED"] <= members["ended_at"]["FAILED"]
    assert members.loc["SCHEDULED", ["started_at", "ended_at"]].isna().all()


def test_tags_that_cannot_be_read_and_a_search_without_members_are_one_line(odd_uri: str) -> None:
    for tag in ("larvae.search", "larvae.point"):
        with pytest.raises(InvalidInputError, match=f"tags `{tag}` of `study` must be JSON .*, got {tag} with '{{tau'"):
            load_search(odd_uri, tag)
    assert find_search(odd_uri) == "without-members"
    with pytest.raises(InvalidInputError, match="`study` must have members, got without-members without any"):
        load_search(odd_uri, "without-members")


@pytest.fixture
def report(script: Script, tracking_uri: str) -> Script:
    return script.of(search_report.main, "--tracking-uri", tracking_uri)


@pytest.mark.usefixtures("undrawn")
def test_the_page_is_complete_and_self_contained_and_tables_agree_in_both_forms(report: Script) -> None:
    printed, told = report.succeed("--study two-objectives", "new/figures")
    folder, written = report.folder / "new/figures", report.names("new/figures")
    pictures = [name for name in written if name.endswith(".png")]
    assert [name for name in written if not name.endswith((".png", ".pdf"))] == DATA
    assert [name.replace(".png", ".pdf") for name in pictures] == [name for name in written if name.endswith(".pdf")]
    assert {"search_history.png", "search_pareto.png", "search_tau_sensitivity_l2.png"} <= set(pictures)
    first, _, best, *_ = printed.splitlines()
    counts = "3 finished, 1 stopped, 1 failed, 1 running"
    assert first == f"two-objectives: dSprites, 900 iterations; 6 configurations: {counts}; mean ± sd over seeds"
    assert best.split()[:2] == ["1", "*"]
    assert "failed: configuration 4 seed 0 (loss is nan)" in told.splitlines()
    page = (folder / "search_report.html").read_text()
    assert page.count('src="data:image/png;base64,') == len(pictures)
    assert re.findall(r"""(?:src|href)=["'](?!data:)|https?://|@import|url\(""", page) == []
    assert all("0.270 ± 0.010" in text for text in (page, best))
    seeds = pd.read_csv(folder / "search_seeds.csv").dropna(axis=1, how="all")
    parquet = pd.read_parquet(folder / "search_seeds.parquet").replace("", None).dropna(axis=1, how="all")
    assert len(seeds) == len(SEARCHES["two-objectives"].runs)
    pd.testing.assert_frame_equal(parquet, seeds, check_dtype=False)
    assert list(pd.read_csv(folder / "search_configurations.csv")["rank"].dropna()) == [1, 2, 3]


@pytest.mark.usefixtures("undrawn")
def test_of_few_finished_configurations_the_numbers_are_written_and_importance_is_left_out(report: Script) -> None:
    for study, table in (("one-finished", "0.100"), ("none-finished", "no configuration has finished yet")):
        printed, told = report.succeed(f"--study {study}", study)
        reason = f"needs 20 finished configurations of different values, {int(study == 'one-finished')} finished"
        assert f"left out: Parameter importance ({reason})" in told.splitlines()
        assert (
            f"<h2>Parameter importance</h2>\n<p>Left out: {reason}.</p>"
            in (report.folder / study / "search_report.html").read_text()
        )
        assert table in printed
        assert len(pd.read_csv(report.folder / study / "search_seeds.csv")) == 2
        assert set(DATA) <= set(report.names(study)) - {"search_importance.png"} == set(report.names(study))


@pytest.mark.usefixtures("undrawn")
def test_what_is_no_search_is_one_line_and_writes_nothing(report: Script, empty_database: Path) -> None:
    report.refuse(
        {
            "--study mixed": "`study` must be an adaptive search, got mixed",
            "--study unknown": "`study` must be one of label-rates, ",
            "--studdy older": "--studdy",
            f"--tracking-uri sqlite:///{empty_database}": "must hold an adaptive search",
        }
    )
    report.refuse_files("--study over-tau")
