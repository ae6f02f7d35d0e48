from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.load import METRICS, find_study, load_members
from larvae.errors import InvalidInputError
from tests.analysis.invented import MIXED, grid, log_study


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
    assert all(math.isnan(scheduled[metric]) for metric in METRICS)


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


def test_an_unknown_study_is_answered_with_the_known_ones(tracking_uri: str) -> None:
    with pytest.raises(InvalidInputError, match="one of latest-sweep, mixed, search, unfinished, z-dim-sweep, got no"):
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
