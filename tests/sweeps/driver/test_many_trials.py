"""One driver serves many trials, which changes nothing about what they come to."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from ray.tune.execution import tune_controller

from sweeps.driver import many_trials
from sweeps.driver.many_trials import MOST_PENDING, PENDING, report_seconds, tune_for
from sweeps.driver.workarounds import events_in_one_go
from sweeps.driver.workarounds.events_in_one_go import BatchingActorManager
from tests.sweeps.commands import STUDY, assert_all_in_mlflow, read_results, statuses, sweep


def test_few_trials_report_often_and_many_no_more_than_the_driver_can_take() -> None:
    assert report_seconds(1) == report_seconds(48) == 5.0
    for trials in (480, 4_800, 48_000):
        assert report_seconds(trials) >= report_seconds(trials // 10)
        seconds = trials / report_seconds(trials) * many_trials.SECONDS_PER_RESULT
        assert seconds <= many_trials.REPORTING_SHARE + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [True, False], ids=["", "with another Ray"])
def test_a_sweep_whose_events_come_in_batches_loses_nothing(
    ray_session: None, folder_with_database: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setattr(many_trials, "FEW_TRIALS", 0)
    if not is_known:
        monkeypatch.setattr(events_in_one_go, "_NEEDED", ("renamed",))
    handled = []
    handle = BatchingActorManager._handle
    monkeypatch.setattr(BatchingActorManager, "_handle", lambda *it: handled.append(it[1]) or handle(*it))
    flags = ("--taus", "0", "1", "5", "--label-rates", "0.01", "--seeds", "1")
    assert sweep(folder_with_database, *flags) == 0
    assert len(handled) >= 6 if is_known else not handled
    assert set(statuses(folder_with_database).values()) == {"FINISHED"}
    assert len(read_results(folder_with_database)) == 3
    assert_all_in_mlflow(folder_with_database)
    trial_files = [p for p in (folder_with_database / "results" / STUDY / "ray_tune").rglob("*") if p.is_file()]
    assert not [p for p in trial_files if p.name in ("result.json", "progress.csv") or "tfevents" in p.name]
    assert not [p for p in trial_files if p.name.startswith("experiment_state")]


def test_tune_starts_as_many_as_run_at_once_up_to_a_limit_and_is_as_it_was_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PENDING, raising=False)
    manager = tune_controller.RayActorManager
    for trials, pending in ((10, 10), (MOST_PENDING, MOST_PENDING), (10**6, MOST_PENDING)):
        with contextlib.suppress(KeyboardInterrupt), tune_for(trials):
            assert os.environ[PENDING] == str(pending)
            is_own = tune_controller.RayActorManager is BatchingActorManager
            assert is_own == (trials > many_trials.FEW_TRIALS), "with few trials Tune's own way is cheaper"
            raise KeyboardInterrupt
        assert PENDING not in os.environ
        assert tune_controller.RayActorManager is manager
    monkeypatch.setenv(PENDING, "7")
    with tune_for(1000):
        assert os.environ[PENDING] == "7", "the user's own setting counts"
    assert os.environ[PENDING] == "7"
