"""What lets one driver serve many trials changes nothing about what they come to."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from ray.tune.execution import tune_controller

from sweeps.driver import many_trials
from sweeps.driver.many_trials import MOST_PENDING, PENDING, report_seconds, tune_for
from sweeps.driver.workarounds.events_in_one_go import BatchingActorManager
from tests.sweeps.commands import STUDY, assert_all_in_mlflow, read_results, statuses, sweep


def test_few_trials_report_often_and_many_no_more_than_the_driver_can_take() -> None:
    assert report_seconds(1) == report_seconds(48) == 5.0
    periods = [report_seconds(trials) for trials in (48, 480, 4_800, 48_000)]
    assert periods == sorted(periods)
    for trials in (480, 4_800, 48_000):
        results_per_second = trials / report_seconds(trials)
        assert results_per_second * many_trials.SECONDS_PER_RESULT <= many_trials.REPORTING_SHARE + 1e-9


def test_a_sweep_whose_events_come_in_batches_loses_nothing(
    ray_session: None, folder_with_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_trials, "FEW_TRIALS", 0)
    handled = []
    handle = BatchingActorManager._handle
    monkeypatch.setattr(BatchingActorManager, "_handle", lambda *it: handled.append(it[1]) or handle(*it))
    flags = ("--taus", "0", "1", "5", "--label-rates", "0.01", "--seeds", "1")
    assert sweep(folder_with_database, *flags) == 0
    assert len(handled) >= 6
    assert set(statuses(folder_with_database).values()) == {"FINISHED"}
    assert len(read_results(folder_with_database)) == 3
    assert_all_in_mlflow(folder_with_database)
    trial_files = [p for p in (folder_with_database / "results" / STUDY / "ray_tune").rglob("*") if p.is_file()]
    assert not [p for p in trial_files if p.name in ("result.json", "progress.csv") or "tfevents" in p.name]


def test_tune_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PENDING, "7")
    manager = tune_controller.RayActorManager
    with contextlib.suppress(KeyboardInterrupt), tune_for(1000):
        assert tune_controller.RayActorManager is BatchingActorManager
        assert os.environ[PENDING] == "7", "the user's own setting counts"
        raise KeyboardInterrupt
    assert tune_controller.RayActorManager is manager
    assert os.environ[PENDING] == "7"
    with tune_for(10):
        assert tune_controller.RayActorManager is manager, "with few trials Tune's own way is cheaper"


@pytest.mark.parametrize(("trials", "pending"), [(10, 10), (MOST_PENDING, MOST_PENDING), (10**6, MOST_PENDING)])
def test_as_many_trials_start_at_once_as_run_at_once_up_to_a_limit(
    trials: int, pending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PENDING, raising=False)
    with tune_for(trials):
        assert os.environ[PENDING] == str(pending)
    assert PENDING not in os.environ
