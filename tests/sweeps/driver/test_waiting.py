"""Trials that wait: for others, which is said, or for a node that does not come, which ends the sweep."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from ray import tune

from larvae.errors import one_line
from sweeps.driver import waiting
from sweeps.driver.deaths import Death
from sweeps.driver.waiting import NodesLostError, NodeWatch
from sweeps.resources.missing_gpus import MissingGpuError
from sweeps.resources.taken_gpu import BrokenGpuError

TRIAL = tune.PlacementGroupFactory([{"CPU": 1, "GPU": 0.5}])


class Trial(NamedTuple):
    status: str
    placement_group_factory: Any = TRIAL


class World:
    """A clock and nodes that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.nodes: list[dict[str, float]] = []
        self.signals: list[int] = []
        self.said: list[str] = []
        self.watch = NodeWatch(self.said.append)
        monkeypatch.setattr(waiting.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(waiting, "living_nodes", lambda: self.nodes)
        monkeypatch.setattr(waiting.os, "kill", lambda pid, number: self.signals.append(number))

    def pass_time(self, seconds: float, *statuses: str) -> str:
        """Let time pass with some trials; what was said meanwhile."""
        for _ in range(int(seconds // 10)):
            self.now += 10
            self.watch.on_step_end(0, [Trial(status) for status in statuses])
        return "\n".join(self.said)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch)
    yield made
    monkeypatch.undo()


def test_trials_that_others_keep_from_running_are_told_and_wait(world: World) -> None:
    assert world.pass_time(5000, "RUNNING", "PENDING") == world.pass_time(5000, "TERMINATED") == ""
    world.nodes = [{"CPU": 8, "GPU": 1}]
    said = world.pass_time(3600, "PENDING", "PENDING")
    assert "1 CPU, 0.5 GPU) is in use by others" in said
    assert 10 < said.count("Waiting") <= 60
    assert world.signals == []
    world.watch.require_nodes()


def test_a_sweep_without_nodes_ends_in_time(world: World) -> None:
    world.nodes = [{"CPU": 8}]
    assert world.pass_time(waiting.LOST_SECONDS, "PENDING", "TERMINATED") == ""  # it may move to other GPUs
    said = world.pass_time(waiting.WAIT_SECONDS - waiting.LOST_SECONDS - 20, "PENDING", "TERMINATED")
    assert "no node is left that could hold a trial (1 CPU, 0.5 GPU)" in said
    assert world.signals == []
    world.pass_time(60, "PENDING")
    assert world.signals == [signal.SIGINT]
    with pytest.raises(NodesLostError, match=r"for 10 min none had 1 CPU, 0\.5 GPU: start nodes"):
        world.watch.require_nodes()


@pytest.mark.parametrize("fault", ["", "host7: OSError: No space left on device"])
def test_a_trial_that_found_no_sound_machine_ends_the_sweep(world: World, fault: str) -> None:
    """Others are given up alone."""
    news = {"rows": [], "status": "running", "reason": fault}
    trial = SimpleNamespace(last_result={"members": {"abc": news}})
    world.watch.on_trial_error(0, [], trial)
    assert world.signals == [signal.SIGINT] * bool(fault)
    with pytest.raises(NodesLostError, match=rf"{fault}: mend it, and the same") if fault else contextlib.nullcontext():
        world.watch.require_nodes()


def test_a_sweep_ends_once_no_host_finds_the_gpus_that_ray_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad host is left to others; a full disk may be cleared."""
    monkeypatch.setattr(waiting, "gpu_hosts", lambda: {"host1", "host2"})

    def leave(host: str, error: OSError) -> None:
        news = {"rows": [], "status": "running", "reason": f"{host}: {one_line(error)}"}
        world.watch.on_trial_result(0, [], OnGpu(host), {"members": {"abc": news}})

    for host, error in (("host1", MissingGpuError()), ("host1", MissingGpuError()), ("host2", OSError("full"))):
        leave(host, error)
    assert world.signals == []
    leave("host2", MissingGpuError())
    assert world.signals == [signal.SIGINT]
    with pytest.raises(NodesLostError, match=r"^trials must .* host2: .* GPUs that Ray has, .*--gpus-per-trial 0"):
        world.watch.require_nodes()


def test_hosts_and_starts_that_work_again_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is installed anew, or a file system that was away for a moment, does not end a sweep of days."""
    monkeypatch.setattr(waiting, "gpu_hosts", lambda: {"host1", "host2"})
    trial = OnGpu("a")
    failed = Death("ImportError: Stale file handle", is_at_start=True)
    monkeypatch.setattr(waiting, "death_of", lambda _: failed)

    def tell(host: str, fault: str = "") -> None:
        news = {"abc": {"rows": [], "status": "running", "reason": fault}}
        world.watch.on_trial_result(0, [], trial, {"members": news, "hostname": host})

    for host in ("host1", "host2", "host1", "host2"):
        tell(host, f"{host}: {one_line(MissingGpuError())}")
        tell(host)
    tell("host1", f"host1: {one_line(MissingGpuError())}")
    world.watch.on_trial_result(0, [], trial, {"members": {}, "hostname": "host1", "is_waiting": True})
    assert world.watch._hosts_without_gpu == {"host1"}  # a sign of life is no work
    tell("host1")
    for _ in range(5):
        world.watch.on_trial_recover(0, [], trial)
        tell("host1")
    assert world.signals == []
    for _ in range(3):
        world.watch.on_trial_recover(0, [], trial)
    assert world.signals == [signal.SIGINT]


class OnGpu:
    """A trial of half a GPU, as Tune has it."""

    def __init__(self, name: str) -> None:
        self.trial_id, self.status, self.placement_group_factory = name, "RUNNING", TRIAL
        self.last_result: dict[str, Any] = {}
        self.run_metadata = SimpleNamespace(num_failures=1)

    def tell(self, world: World, fault: str = "") -> None:
        news = {"rows": [], "status": "running", "reason": fault}
        self.last_result = {"members": {"abc": news}}
        world.watch.on_trial_result(0, [], self, self.last_result)


def test_a_gpu_that_does_not_work_ends_a_sweep_once_no_other_does(world: World) -> None:
    """Nor is its trial given up while others train, however often it gets that GPU again."""
    world.nodes = [{"CPU": 8, "GPU": 1}, {"CPU": 8}, {"CPU": 8, "GPU": 1}]
    trials = [OnGpu(name) for name in "abcd"]
    first, *others = trials
    without = OnGpu("evaluates")
    without.placement_group_factory = tune.PlacementGroupFactory([{"CPU": 1}])
    fault = f"host1: {one_line(BrokenGpuError('GPU 0 must compute, but CUDA error: ECC'))}"

    def leave(trial: OnGpu) -> None:
        trial.status = "PENDING"
        world.watch.on_trial_recover(0, [*trials, without], trial)
        trial.status = "RUNNING"

    for _ in range(60):
        first.tell(world, fault)
        first.run_metadata.num_failures += 1
        leave(first)
    assert first.run_metadata.num_failures == 1
    for trial in trials:
        trial.tell(world, fault)
    first.tell(world)  # it works again
    leave(others[0])
    assert world.signals == []
    for trial in (first, others[0]):
        trial.tell(world, fault)
    leave(first)
    assert world.signals == [signal.SIGINT]
    with pytest.raises(NodesLostError, match=r"^trials must find GPUs that work, but host1: .*GPU 0 must compute.*ECC"):
        world.watch.require_nodes()


def test_a_node_that_comes_in_time_is_waited_for(world: World) -> None:
    world.pass_time(waiting.WAIT_SECONDS - 20, "PENDING")
    world.nodes = [{"CPU": 8, "GPU": 1}]
    world.pass_time(50, "PENDING")
    world.pass_time(50, "RUNNING")
    world.nodes = []
    world.pass_time(waiting.WAIT_SECONDS - 20, "PENDING")
    assert world.signals == []
