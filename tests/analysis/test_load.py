"""MLflow's runs as a table of members, which study is found, and addresses that cannot be read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from larvae.config import FORMAT
from larvae.errors import InvalidInputError
from sweeps.analysis.load import (
    LOGGED_METRICS,
    converter,
    find_label_rate_study,
    find_pair_study,
    find_study,
    load_members,
    varied_parameters,
    varied_within_panels,
)
from sweeps.tracking import mlflow_names
from tests.analysis.invented import LABEL_RATES, MIXED, frame, grid, log_study, paired, panels


@pytest.fixture(scope="module")
def odd_uri(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """A database with a member logged twice, one of an earlier format, one of another version, and an empty study."""
    path = tmp_path_factory.mktemp("odd") / "mlflow.db"
    shutil.copy(empty_database, path)
    client = MlflowClient(f"sqlite:///{path}")
    finished, other = grid((0,), (0.01,), (0,)), grid((2,), (0.01,), (0,))[0]
    log_study(client, "twice", [*finished, *(m._replace(status="FAILED") for m in (*finished, other))])
    tags = {"larvae.role": "member", "larvae.member": "killed as it was made"}
    experiment = client.create_experiment("other-version", tags={mlflow_names.FORMAT: str(FORMAT)})
    for number, sparsity in enumerate(("0.5", "none")):
        run = client.create_run(experiment, tags=tags | {"larvae.member": str(number)}).info.run_id
        for name, value in {"sparsity": sparsity, "tau": "1.0", "seed": "0", "status": "odd"}.items():
            client.log_param(run, name, value)
    client.create_run(experiment, tags=tags)
    client.create_experiment("empty")
    log_study(client, "earlier", grid((0, 1), (0.01,), (0,)))
    earlier = client.get_experiment_by_name("earlier")
    assert earlier is not None
    client.set_experiment_tag(earlier.experiment_id, mlflow_names.FORMAT, "1")
    return f"sqlite:///{path}"


def test_members_are_read_as_they_were_logged_in_the_order_of_their_parameters(tracking_uri: str) -> None:
    members = load_members(tracking_uri, "mixed")
    expected = sorted(MIXED, key=lambda m: (m.config.tau, m.config.label_rate, m.config.seed))
    assert list(members["hash"]) == [member.config.content_hash for member in expected]
    assert members["seed"].dtype == np.int64
    for row, member in zip(members.to_dict("records"), expected, strict=True):
        known = (member.config.tau, 5, member.status, member.reason)
        assert (row["tau"], row["z_dim"], row["status"], row["reason"]) == known
        assert row["iterations"] == {"FINISHED": 1000, "SCHEDULED": 0}.get(member.status, 500)
        if member.status == "SCHEDULED":
            assert all(math.isnan(row[metric]) for metric in LOGGED_METRICS)
        else:
            assert (row["mig"], row["l2"]) == (member.mig, member.l2)  # the last ones logged


def test_a_member_logged_twice_counts_once_and_finished(odd_uri: str) -> None:
    members = load_members(odd_uri, "twice")
    assert dict(zip(members["tau"], members["status"], strict=True)) == {0: "FINISHED", 2: "FAILED"}


def test_parameters_of_other_versions_are_kept_as_text_and_absent_ones_are_left_out(odd_uri: str) -> None:
    members = load_members(odd_uri, "other-version")
    assert sorted(members["sparsity"]) == ["0.5", "none"]
    assert list(members["tau"]) == [1.0, 1.0]
    assert set(members["status"]) == {"RUNNING"}
    assert "z_dim" not in members
    assert varied_parameters(members) == ["sparsity"]
    known = {"bool": ("True", True), "tuple[str, ...]": ("['shape']", "['shape']"), "int": ("5", 5)}
    assert all(converter(kind)(text) == value for kind, (text, value) in known.items())
    assert converter("bool")("False") is False


def test_the_newest_study_of_a_kind_is_found_and_searches_are_passed_over(tracking_uri: str) -> None:
    assert set(load_members(tracking_uri, "over-tau")["tau"]) == {0, 1, 2}  # newer, and varies τ alone
    assert find_study(tracking_uri, "tau") == "latest-sweep"
    assert find_study(tracking_uri, "z_dim") == "z-dim-sweep"
    assert find_label_rate_study(tracking_uri) == find_pair_study(tracking_uri) == "label-rates"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda uri: find_study(uri, "gamma_tc"), "must hold a study that varies gamma_tc"),
        (find_label_rate_study, "must hold a study that compares τ = 0 with τ > 0"),
        (lambda uri: find_study(uri, "tau"), "study earlier was written in format 1"),
        (lambda uri: load_members(uri, "earlier"), "study earlier was written in format 1"),
        (lambda uri: load_members(uri, "no"), "one of earlier, empty, other-version, twice, got no"),
        (lambda uri: load_members(uri, "other-empty"), "got other-empty"),
    ],
)
def test_a_study_that_is_not_there_or_of_an_earlier_format_is_one_line(
    odd_uri: str, ask: Callable[[str], object], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message) as raised:
        ask(odd_uri)
    assert "\n" not in str(raised.value)


def test_label_rate_seed_and_metrics_are_no_parameters_and_regularisers_have_settings_of_their_own() -> None:
    assert varied_parameters(frame(grid((1,), (0.01, 0.02), (0, 1)))) == []
    members = frame(LABEL_RATES)
    assert varied_parameters(members) == ["regulariser", "tau", "gamma_tc"]
    assert varied_within_panels(members) == ["tau"]
    mixed = panels(paired([0.1], [0.2], alpha=1.0), paired([0.1], [0.2], alpha=2.0))
    assert varied_within_panels(mixed) == ["tau", "alpha"]


def test_a_file_that_is_no_database_is_left_alone_and_none_is_made(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with pytest.raises(InvalidInputError, match="no such file"):
        find_study(f"sqlite:///{path}", "tau")
    assert list(tmp_path.iterdir()) == []
    for content in (b"", b"no database at all"):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="must name MLflow's data"):
            find_study(f"sqlite:///{path}", "tau")
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "must be sqlite:///FILE"),
        ("ftp://host", "must be sqlite:///FILE"),
        ("sqlite://", "must be sqlite:///FILE"),
        ("http://user:secret@127.0.0.1:1", r"got http://127\.0\.0\.1:1: no answer"),
        ("postgresql://user:secret@127.0.0.1:1/x", "driver psycopg is not installed; pip install psycopg2-binary"),
        ("postgresql+psycopg2://user:secret@127.0.0.1:1/x", "failed: Connection refused"),
    ],
)
def test_addresses_that_cannot_be_read_are_one_line_without_the_password(
    uri: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InvalidInputError, match=message) as raised:
        find_study(uri, "tau")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
