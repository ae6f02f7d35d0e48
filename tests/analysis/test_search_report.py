from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis import search_report
from larvae.errors import InvalidInputError
from sweeps.analysis.load import find_pair_study, find_study, load_members
from sweeps.analysis.search.load_search import find_search, load_search
from tests.analysis.invented import grid, log_study
from tests.analysis.invented_search import InventedSearch, describe, log_search, record, run_of, small

SCRIPT = Path(search_report.__file__)
POINTS = [{"tau": tau} for tau in (1.0, 0.08, 2.0)]
TAU = ("tau=0.1:10:log:zero",)
DATA = [
    "search_configurations.csv",
    "search_journal.log",
    "search_report.html",
    "search_seeds.csv",
    "search_seeds.parquet",
]


def of_tau(*ends: dict[str, object]) -> InventedSearch:
    """A search over τ alone, a configuration an element: fields of Run."""
    runs = [run_of(n, POINTS[n], 0, (0.1 + n / 10, 0.5), parts=TAU, **end) for n, end in enumerate(ends)]
    return InventedSearch(describe(TAU), runs)


SEARCHES = {
    "older": small(),
    "two-objectives": small(("mig", "l2")),
    "one-finished": of_tau({}, {"status": "KILLED", "stopped_at": 100}),
    "none-finished": of_tau({"status": "RUNNING"}, {"status": "SCHEDULED", "until": 0}),
    "over-tau": of_tau({}, {}, {}),
}


@pytest.fixture(scope="module")
def search_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with a sweep, SEARCHES and another sweep: tests only read it."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"
    client = MlflowClient(uri)
    log_study(client, "sweep", grid((0, 1), (0.01,), (0,)))
    for name, invented in SEARCHES.items():
        log_search(client, name, invented)
    log_study(client, "z-sweep", [m for z_dim in (0, 5) for m in grid((1,), (0.01,), (0,), z_dim=z_dim)])
    return uri


@pytest.mark.parametrize("name", SEARCHES)
def test_what_was_logged_is_read(search_uri: str, name: str) -> None:
    read, expected = load_search(search_uri, name), record(SEARCHES[name], name)
    assert read.description == json.loads(json.dumps(expected.description))
    columns = [column for column in expected.members if column != "name"]
    pd.testing.assert_frame_equal(
        read.members.sort_values("hash")[columns].reset_index(drop=True),
        expected.members.sort_values("hash")[columns].reset_index(drop=True),
        check_dtype=False,
    )
    keys = ["hash", "iteration"]
    pd.testing.assert_frame_equal(
        read.evaluations.sort_values(keys).reset_index(drop=True),
        expected.evaluations.sort_values(keys).reset_index(drop=True),
        check_dtype=False,
    )


def test_the_newest_search_is_found_and_sweeps_are_passed_over(search_uri: str) -> None:
    assert find_search(search_uri) == "over-tau"


def test_sweeps_pass_over_searches_though_they_vary_the_same(search_uri: str) -> None:
    assert set(load_members(search_uri, "over-tau")["tau"]) == {0, 1, 2}
    assert find_study(search_uri, "tau") == "sweep"
    assert find_pair_study(search_uri) == "sweep"


def test_a_step_that_was_logged_twice_counts_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    log_search(client, "twice", of_tau({}))
    [run] = client.search_runs([client.get_experiment_by_name("twice").experiment_id], "tags.`larvae.role` = 'member'")
    client.log_metric(run.info.run_id, "held_out_mig", 0.5, timestamp=1_800_000_000_000, step=900)
    evaluations = load_search(uri, "twice").evaluations
    assert list(evaluations["iteration"]) == list(range(100, 1000, 100))
    assert evaluations["held_out_mig"].iloc[-1] == 0.5


def test_the_script_writes_pictures_numbers_page_and_journal(search_uri: str, tmp_path: Path) -> None:
    arguments = ["--tracking-uri", search_uri, "--study", "two-objectives", "--output", "new/figures"]
    command = [sys.executable, str(SCRIPT), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stderr
    output = tmp_path / "new" / "figures"
    written = sorted(path.name for path in output.iterdir())
    pictures = [name for name in written if name.endswith(".png")]
    assert [name for name in written if not name.endswith((".png", ".pdf"))] == DATA
    assert [name.replace(".png", ".pdf") for name in pictures] == [name for name in written if name.endswith(".pdf")]
    assert {"search_history.png", "search_pareto.png", "search_tau_sensitivity_l2.png"} <= set(pictures)
    lines = run.stdout.splitlines()
    counts = "3 finished, 1 stopped, 1 failed, 1 running"
    assert lines[0] == f"two-objectives: dsprites, 900 iterations; 6 configurations: {counts}; mean ± sd over seeds"
    assert lines[2].split()[:2] == ["1", "*"]
    assert "0.270 ± 0.010" in lines[2]
    assert sorted(lines[-len(written) :]) == [f"new/figures/{name}" for name in written]
    assert "failed: configuration 4 seed 0 (loss is nan)" in run.stderr.splitlines()
    page = (output / "search_report.html").read_text()
    assert page.count('src="data:image/png;base64,') == len(pictures)
    assert re.findall(r"""(?:src|href)=["'](?!data:)|https?://|@import|url\(""", page) == []
    assert "0.270 ± 0.010" in page
    assert not re.search(r"Traceback|Warning", run.stderr)


def test_tables_agree_in_both_forms(search_uri: str, tmp_path: Path) -> None:
    assert search_report.main(["--tracking-uri", search_uri, "--output", str(tmp_path)]) == 0
    seeds = pd.read_csv(tmp_path / "search_seeds.csv")
    assert sorted(seeds["configuration"]) == [0, 1, 2]
    parquet = pd.read_parquet(tmp_path / "search_seeds.parquet").replace("", None)
    pd.testing.assert_frame_equal(parquet.dropna(axis=1, how="all"), seeds.dropna(axis=1, how="all"), check_dtype=False)
    assert list(pd.read_csv(tmp_path / "search_configurations.csv")["rank"]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("study", "members", "table"),
    [("one-finished", 2, "0.100"), ("none-finished", 2, "no configuration has finished yet")],
)
def test_of_few_finished_configurations_the_numbers_are_written_and_importance_is_left_out(
    search_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], study: str, members: int, table: str
) -> None:
    assert search_report.main(["--tracking-uri", search_uri, "--study", study, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "left out: Parameter importance (needs 2 finished configurations" in printed.err
    assert table in printed.out
    assert len(pd.read_csv(tmp_path / "search_seeds.csv")) == members
    assert set(DATA) <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "search_importance.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "sweep"], "`study` must be an adaptive search, got sweep"),
        (["--study", "unknown"], "`study` must be one of none-finished, "),
        (["--studdy", "older"], "--studdy"),
    ],
)
def test_what_is_no_search_is_one_line_and_writes_nothing(
    search_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = tmp_path / "figures"
    assert search_report.main(["--tracking-uri", search_uri, "--output", str(output), *arguments]) == 2
    assert_one_line(capsys, message)
    assert not output.exists()


def test_without_a_search_the_rule_is_said(
    tracking_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search_report.main(["--tracking-uri", tracking_uri, "--output", str(tmp_path / "figures")]) == 2
    assert_one_line(capsys, "must hold an adaptive search")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tag", ["larvae.search", "larvae.point"])
def test_tags_that_cannot_be_read_are_one_line(tmp_path: Path, tag: str) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    log_search(client, "odd", of_tau({}))
    for run in client.search_runs([client.get_experiment_by_name("odd").experiment_id]):
        if tag in run.data.tags:
            client.set_tag(run.info.run_id, tag, "{tau")
    with pytest.raises(InvalidInputError, match=f"tags `{tag}` of `study` must be JSON objects, got odd with '{{tau'"):
        load_search(uri, "odd")


def test_a_search_without_members_is_one_line(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    log_search(MlflowClient(uri), "empty", InventedSearch(describe(), []))
    assert find_search(uri) == "empty"
    with pytest.raises(InvalidInputError, match="`study` must have members, got empty without any"):
        load_search(uri, "empty")


def test_an_output_that_cannot_be_written_is_one_line(
    search_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert search_report.main(["--tracking-uri", search_uri, "--output", str(tmp_path / "file")]) == 2
    assert_one_line(capsys, "`output` must be a directory that can be written")
    assert (tmp_path / "file").read_text() == "kept"


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
