"""Costs of Ray's real calls in the driver's process, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ray


class RayCosts(NamedTuple):
    """Processor seconds of the driver's main thread."""

    task: float
    """Calling an actor's method and fetching its small result."""
    actor: float
    """Making a placement group, and the actor in it."""
    waiting: float
    """`ray.wait`, for each future that it is given."""


def measure() -> RayCosts:
    """Measure them in this process, which must be connected to Ray."""
    result = {"members": {"name": {"rows": [{f"loss_{k}": 1.0 for k in range(14)}]}}, **{f"k{k}": k for k in range(20)}}
    trial = ray.remote(num_cpus=0)(_Trial).remote()
    ray.get(trial.train.remote(result))
    task = _processor_seconds(lambda: ray.get(trial.train.remote(None)), 500)
    pending = [trial.sleep.remote() for _ in range(5_000)]
    waiting = _processor_seconds(lambda: ray.wait(pending, num_returns=1, timeout=0), 20) / len(pending)
    ray.kill(trial)
    trials = ray.remote(num_cpus=0)(_Trial)
    trials.remote()  # sends the class
    return RayCosts(task, _processor_seconds(lambda: _make_actor(trials), 20), waiting)


class _Trial:
    result: Any = None

    def train(self, result: Any) -> Any:
        self.result = result or self.result
        return self.result

    def sleep(self) -> None:
        time.sleep(3600)


def _make_actor(trials: Any) -> None:
    group = ray.util.placement_group([{"CPU": 0.001}])
    actor = trials.remote()
    ray.get(group.ready())
    ray.kill(actor)
    ray.util.remove_placement_group(group)


def _processor_seconds(call: Callable[[], Any], times: int) -> float:
    started = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - started) / times
