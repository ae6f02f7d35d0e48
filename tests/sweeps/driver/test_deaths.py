"""Processes that die: what Ray says of it in many lines is told in one, and nothing ends that need not."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import (
    ActorDiedError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from sweeps.driver import tuner
from sweeps.driver.deaths import Death, death_of
from sweeps.driver.waiting import NodesLostError
from sweeps.driver.workarounds import deaths_of_all_kinds
from sweeps.driver.workarounds.deaths_of_all_kinds import TolerantActorManager
from sweeps.trial.trainable import MemberTrainable
from tests.sweeps.commands import read_runs, sweep

MEMORY = "1 worker(s) were killed due to the node running low on memory. Memory on it (IP: 10.0.0.7, ID: 4f) was\n7 GB"


def trial_of(folder: Path, error: Exception | None, fault: str = "") -> Any:
    path = folder / "error.pkl"
    if error is not None:
        path.write_bytes(cloudpickle.dumps(error))
    news = {"abc": {"rows": [], "status": "running", "reason": fault}}
    return SimpleNamespace(last_result={"members": news}, pickled_error_file=str(path) if error else None)


class Manager:
    """Tune's manager of actors, and the errors that it passes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed: list[Exception] = []
        theirs = deaths_of_all_kinds.RayActorManager
        for name in ("_actor_task_failed", "_actor_start_failed"):
            monkeypatch.setattr(theirs, name, lambda _, actor, exception: self.passed.append(exception))
        monkeypatch.setattr(theirs, "_try_start_actors", lambda *_: 1)
        self.manager = TolerantActorManager(SimpleNamespace())

    def fail(self, error: Exception) -> Exception:
        self.manager._actor_task_failed(None, error)
        self.manager._actor_start_failed(None, error)
        assert str(self.passed[-1]) == str(self.passed[-2])
        return self.passed[-1]


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    return Manager(monkeypatch)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OutOfMemoryError(MEMORY), "Ray killed it as its node 10.0.0.7 ran out of memory: .*--cpus-per-trial"),
        (OutOfDiskError("the object store"), "OutOfDiskError: "),
        (RuntimeEnvSetupError("pip failed\nin many lines"), "RuntimeEnvSetupError: .*pip failed in many lines"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_machine_did_is_no_members_failure(
    manager: Manager, error: RayError, told: str, tmp_path: Path
) -> None:
    """Errors of Ray's that Tune does not expect come to it as deaths, which it can handle."""
    passed = manager.fail(error)
    assert isinstance(passed, RayActorError)
    death = death_of(trial_of(tmp_path, passed))
    assert re.match(told, death.reason)
    assert "\n" not in death.reason
    assert (death.is_machines, death.is_told, death.is_at_start) == (True, False, False)


def test_others_are_left_as_they_are(manager: Manager, tmp_path: Path) -> None:
    task = RayTaskError("train", "Traceback", ValueError("of the task"))
    for error in (ActorDiedError(), task, KeyError("none of Ray's")):
        assert manager.fail(error) is error
    assert death_of(trial_of(tmp_path, ActorDiedError())) == Death()
    assert death_of(trial_of(tmp_path, None)) == Death()
    told = death_of(trial_of(tmp_path, ActorDiedError(), "host7: OSError: No space left on device"))
    assert (told.reason, told.is_told) == ("host7: OSError: No space left on device", True)


def test_a_process_that_cannot_start_is_not_explained_by_the_fault_of_the_one_before(tmp_path: Path) -> None:
    """Tune keeps a trial's last result until its next process reports."""
    error = ActorDiedError()
    error._actor_init_failed = True
    death = death_of(trial_of(tmp_path, error, "host7: BrokenGpuError: GPU 0 must compute, but ECC"))
    assert (death.is_at_start, death.is_machines) == (True, False)
    low = death_of(trial_of(tmp_path, RayActorError(None, MEMORY), "host7: OSError: No space left on device"))
    assert low.reason.startswith("Ray killed it as its node 10.0.0.7")


def test_nothing_starts_for_a_while_where_memory_is_short(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(deaths_of_all_kinds.time, "monotonic", lambda: now[0])
    started = [manager.manager._try_start_actors()]
    for error, seconds in ((ActorDiedError(), 0), (OutOfMemoryError(MEMORY), 1), (ActorDiedError(), 28), (None, 2)):
        if error is not None:
            manager.fail(error)
        now[0] += seconds
        started.append(manager.manager._try_start_actors())
    assert started == [1, 1, 0, 0, 1]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_processes_that_cannot_start_end_the_sweep_with_their_error(
    folder_with_database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(MemberTrainable):
        def setup(self, *_: Any, **__: Any) -> None:
            raise ImportError("no module named larvae_of_another_version")

    monkeypatch.setattr(tuner, "MemberTrainable", Broken)
    folder, reason = folder_with_database, "ImportError: no module named larvae_of_another_version"
    with pytest.raises(NodesLostError, match=f"^the process of a trial must start, but {reason}, and the same command"):
        sweep(folder, "--taus", "0", "1", "--gpus-per-trial", "0")
    printed = capsys.readouterr()
    assert printed.out.count(f"{reason}; its process could not start") == 3
    assert "Waiting" not in printed.out
    assert "RUNNING" not in {run.status for run in read_runs(folder).values()}
