from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from larvae.config import FORMAT
from larvae.errors import InvalidInputError
from sweeps.analysis.load import (
    LOGGED_METRICS,
    converter,
    find_label_rate_study,
    find_study,
    load_members,
    varied_parameters,
    varied_within_panels,
)
from sweeps.tracking import mlflow_names
from tests.analysis.invented import LABEL_RATES, MIXED, frame, grid, log_study, paired, panels


def test_members_have_typed_parameters_and_last_metrics(tracking_uri: str) -> None:
    members = load_members(tracking_uri, "mixed")
    assert len(members) == len(MIXED)
    expected = {member.config.content_hash: member for member in MIXED}
    for row in members.to_dict("records"):
        member = expected[row["hash"]]
        assert row["tau"] == member.config.tau
        assert row["z_dim"] == 5
        assert isinstance(row["seed"], int)
        assert row["status"] == member.status
        assert row["reason"] == member.reason
        if row["status"] != "SCHEDULED":
            assert row["mig"] == member.mig
            assert row["l2"] == member.l2


def test_members_come_in_the_order_of_their_parameters(tracking_uri: str) -> None:
    members = load_members(tracking_uri, "mixed")
    order = list(zip(members["tau"], members["label_rate"], members["seed"], strict=True))
    assert order == sorted(order)


def test_iterations_are_those_trained(tracking_uri: str) -> None:
    members = load_members(tracking_uri, "mixed")
    assert set(members.loc[members["status"] == "FINISHED", "iterations"]) == {1000}
    assert set(members.loc[members["status"].isin(["FAILED", "KILLED"]), "iterations"]) == {500}
    [scheduled] = members[members["status"] == "SCHEDULED"].to_dict("records")
    assert scheduled["iterations"] == 0
    assert all(math.isnan(scheduled[metric]) for metric in LOGGED_METRICS)


def test_a_member_logged_twice_counts_once_and_finished(tracking_uri: str) -> None:
    client = MlflowClient(tracking_uri)
    finished, other = grid((1,), (0.01,), (0,)), grid((2,), (0.01,), (0,))[0]
    log_study(client, "twice", [*finished, *(m._replace(status="FAILED") for m in (*finished, other))])
    try:
        members = load_members(tracking_uri, "twice")
        assert sorted(members["status"]) == ["FAILED", "FINISHED"]
    finally:
        client.delete_experiment(client.get_experiment_by_name("twice").experiment_id)


def test_the_newest_study_that_varies_only_the_parameter_is_found(tracking_uri: str) -> None:
    assert find_study(tracking_uri, "tau") == "latest-sweep"
    assert find_study(tracking_uri, "z_dim") == "z-dim-sweep"
    with pytest.raises(InvalidInputError, match="must hold a study that varies gamma_tc"):
        find_study(tracking_uri, "gamma_tc")


def test_the_newest_study_that_compares_over_label_rates_is_found(tracking_uri: str) -> None:
    assert find_label_rate_study(tracking_uri) == "label-rates"


def test_without_a_study_that_compares_the_rule_is_said(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    log_study(client, "one-rate", grid((0, 1), (0.01,), (0,)))
    log_study(client, "no-baseline", grid((0.5, 1), (0.01, 0.02), (0,)))
    client.create_experiment("empty")
    with pytest.raises(InvalidInputError, match="must hold a study that compares τ = 0 with τ > 0"):
        find_label_rate_study(uri)


def test_parameters_of_other_versions_are_kept_as_text_and_absent_ones_are_left_out(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("other-version", tags={mlflow_names.FORMAT: str(FORMAT)})
    for number, sparsity in enumerate(("0.5", "none")):
        run = client.create_run(experiment, tags={"larvae.role": "member", "larvae.member": str(number)}).info.run_id
        for name, value in {"sparsity": sparsity, "tau": "1.0", "seed": "0", "status": "odd"}.items():
            client.log_param(run, name, value)
    client.create_run(experiment, tags={"larvae.role": "member", "larvae.member": "killed as it was made"})
    members = load_members(uri, "other-version")
    assert sorted(members["sparsity"]) == ["0.5", "none"]
    assert list(members["tau"]) == [1.0, 1.0]
    assert set(members["status"]) == {"RUNNING"}
    assert "z_dim" not in members
    assert varied_parameters(members) == ["sparsity"]


def test_truth_values_and_lists_are_read() -> None:
    assert [converter("bool")("True"), converter("bool")("False")] == [True, False]
    assert converter("tuple[str, ...]")("['shape']") == "['shape']"
    assert converter("int")("5") == 5


def test_metrics_are_not_parameters() -> None:
    assert varied_parameters(frame(grid((1,), (0.01,), (0, 1)))) == []
    assert varied_parameters(frame(grid((0, 1), (0.01,), (0, 1)))) == ["tau"]


def test_what_varies_with_the_regulariser_does_not_vary_within_panels() -> None:
    members = frame(LABEL_RATES)
    assert varied_parameters(members) == ["regulariser", "tau", "gamma_tc"]
    assert varied_within_panels(members) == ["tau"]
    mixed = panels(paired([0.1], [0.2], alpha=1.0), paired([0.1], [0.2], alpha=2.0))
    assert varied_within_panels(mixed) == ["tau", "alpha"]


def test_an_unknown_study_is_answered_with_the_known_ones(tracking_uri: str) -> None:
    with pytest.raises(
        InvalidInputError, match="one of label-rates, latest-sweep, mixed, search, unfinished, z-dim-sweep, got no"
    ):
        load_members(tracking_uri, "no")


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such file"):
        find_study(f"sqlite:///{tmp_path}/mlflow.db", "tau")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database at all"])
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="must name MLflow's data"):
        find_study(f"sqlite:///{path}", "tau")
    assert path.read_bytes() == content


@pytest.mark.parametrize("uri", ["mlruns", "ftp://host", "sqlite://"])
def test_addresses_of_other_kinds_are_refused(uri: str) -> None:
    with pytest.raises(InvalidInputError, match="`tracking_uri` must be sqlite:///FILE"):
        find_study(uri, "tau")


def test_a_server_that_does_not_answer_is_given_up_soon_and_its_password_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = time.monotonic()
    with pytest.raises(InvalidInputError, match=r"got http://127\.0\.0\.1:1: no answer") as raised:
        find_study("http://user:secret@127.0.0.1:1", "tau")
    assert time.monotonic() - started < 15
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://user:secret@127.0.0.1:1/x", "driver psycopg is not installed; pip install psycopg2-binary"),
        ("postgresql+psycopg2://user:secret@127.0.0.1:1/x", "failed: Connection refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_soon_and_its_password_kept(uri: str, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidInputError, match="must be a database that answers") as raised:
        find_study(uri, "tau")
    assert time.monotonic() - started < 10
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)
