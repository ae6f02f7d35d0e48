"""Simulated trials: their rows, how long they take, and how they end."""

from __future__ import annotations

import pickle
import random
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.train._internal.session import _TrainingResult

from larvae.config import MemberConfig
from simulation.clock import Clock

TERMS = ("reconstruction", "kl", "label_loss", "total_correlation", "replacement_reconstruction", "replacement_kl")
LOSSES = (*TERMS, "label_replacement_loss", "loss")
EVALUATION = ("mig", "mig_y", "mig_aligned", "l2", *(f"rmse_{k}" for k in range(5)), "held_out_mig", "held_out_l2")
ITERATIONS_PER_ROW = 50
START_SECONDS = (8.0, 20.0)
"""Seconds from an actor's creation to its first step: importing PyTorch, opening the data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The load of the simulated trials."""

    trials: int
    """Trials that fit on the cluster at once."""
    rows: int
    """Rows of each member, until it is finished."""
    row_seconds: float
    """Median over trials of the time between two rows: 50 iterations of 0.1 s, say."""
    evaluate_every: int
    """Rows between evaluations."""
    preempted: float
    """Share of reports in place of which the trial's process dies."""
    failed: float
    """Share of members whose loss turns NaN half way."""
    seed: int


class Future:
    """The future of a simulated call. due: simulated time when its outcome is there. priority: Tune's, lowest first."""

    __slots__ = ("due", "on_error", "outcome", "priority")

    def __init__(self, due: float, outcome: Any, priority: int, on_error: Callable[[], None] | None) -> None:
        self.due, self.outcome, self.priority, self.on_error = due, outcome, priority, on_error


@dataclass(slots=True)
class Seen:
    """The simulation's record of the driver."""

    results: int = 0
    running: int = 0
    most_running: int = 0
    preempted: int = 0
    waited: float = 0.0
    """Seconds, summed over trials, between a report and the driver's call for the next one."""
    trained: float = 0.0
    """Seconds, summed over trials, of what has been reported."""


class Cluster(Protocol):
    """The parts of its cluster that a trial needs."""

    load: Load
    clock: Clock
    seen: Seen
    random: random.Random
    reached: dict[str, int]
    task_seconds: float
    actor_seconds: float
    report_seconds: Callable[[], float]

    def later(
        self, seconds: float, outcome: Any, priority: int, on_error: Callable[[], None] | None = None
    ) -> Future: ...


@dataclass(slots=True)
class SimulatedTrial:
    """The actor of a MemberTrainable: what its methods return, and when."""

    cluster: Cluster
    config: dict[str, Any]
    names: list[str] = field(init=False)
    pace: float = field(init=False)
    """Seconds of a row."""
    reported: dict[str, int] = field(init=False)
    """Rows of each member that this process has reported; at first it repeats those of the checkpoint."""
    reported_at: float | None = field(init=False)
    iteration: int = field(init=False)
    is_alive: bool = False

    def __post_init__(self) -> None:
        self.cluster.clock.modelled += self.cluster.actor_seconds
        self._take_on(self.config)

    def __getattr__(self, method: str) -> Any:
        calls = {
            "train": self._train,
            "reset": self._reset,
            "__ray_ready__": self._start,
            "stop": self._end,
            "__ray_terminate__": self._end,
            "get_auto_filled_metrics": self._describe,
            "save": self._save,
        }
        if method not in calls:
            raise AttributeError(method)
        return types.SimpleNamespace(remote=calls[method])

    def die(self) -> None:
        """The process ends, one way or the other."""
        self.cluster.seen.running -= self.is_alive
        self.is_alive = False

    def _take_on(self, config: dict[str, Any]) -> None:
        with self.cluster.clock.simulating():
            self.config = {"members": config["members"]}
            self.names = [MemberConfig.from_dict(fields).content_hash for fields in config["members"]]
            self.pace = self.cluster.load.row_seconds * random.Random(f"{self.names[0]} pace").lognormvariate(0, 0.2)
            self.reported = dict.fromkeys(self.names, 0)
            self.reported_at, self.iteration = None, 0

    def _start(self) -> Future:
        seen = self.cluster.seen
        self.is_alive = True
        seen.running += 1
        seen.most_running = max(seen.most_running, seen.running)
        return self.cluster.later(self.cluster.random.uniform(*START_SECONDS), pickle.dumps(None), 1)

    def _describe(self, **_: Any) -> dict[str, Any]:
        self.cluster.clock.modelled += self.cluster.task_seconds
        return {}

    def _save(self) -> Future:
        """Tune's own checkpoint, which this project does not use."""
        self.cluster.clock.modelled += self.cluster.task_seconds
        return self.cluster.later(0.5, pickle.dumps(_TrainingResult(checkpoint=None, metrics={})), 2)

    def _reset(self, config: dict[str, Any], **_: Any) -> Future:
        self._take_on(config)
        return self.cluster.later(1.0, pickle.dumps(True), 2)

    def _end(self, *_: Any) -> Future:
        self.die()
        return self.cluster.later(0.1, pickle.dumps(None), 1)

    def _train(self) -> Future:
        """Rows of some seconds, or the death of the process."""
        cluster = self.cluster
        cluster.clock.modelled += cluster.task_seconds
        with cluster.clock.simulating():
            if self.reported_at is not None:
                cluster.seen.waited += max(0.0, cluster.clock.now() - self.reported_at)
            left = cluster.load.rows - min(cluster.reached.get(name, 0) for name in self.names)
            rows = max(1, min(left, -int(-cluster.report_seconds() // self.pace)))
            seconds = rows * self.pace * cluster.random.uniform(0.95, 1.05)
            self.reported_at = cluster.clock.now() + seconds
            if cluster.random.random() < cluster.load.preempted:
                cluster.seen.preempted += 1
                return cluster.later(seconds, ray.exceptions.RayActorError(), 2, self.die)
            cluster.seen.trained += seconds
            return cluster.later(seconds, pickle.dumps(self._result(rows, seconds)), 2)

    def _result(self, rows: int, seconds: float) -> dict[str, Any]:
        """The result as `MemberTrainable.train` returns it."""
        members = {name: self._news(name, rows) for name in self.names if not self._has_ended(name)}
        self.iteration += 1
        return {
            "members": members,
            "done": all(self._has_ended(name) for name in self.names),
            "training_iteration": self.iteration,
            "config": self.config,
            "time_this_iter_s": seconds,
            "timestamp": 1_700_000_000,
            "date": "2026-01-01_00-00-00",
            "pid": 1,
            "hostname": "simulated",
            "node_ip": "10.0.0.1",
            **dict.fromkeys(("time_total_s", "time_since_restore", "iterations_since_restore"), self.iteration),
        }

    def _has_ended(self, name: str) -> bool:
        return self.reported[name] > self.cluster.load.rows

    def _news(self, name: str, rows: int) -> dict[str, Any]:
        load, reached = self.cluster.load, self.cluster.reached
        failing = failing_row(name, load)
        last = min(reached.get(name, 0) + rows, load.rows, failing or sys.maxsize)
        news = [simulated_row(name, number, load, self.pace) for number in range(self.reported[name] + 1, last + 1)]
        status = "failed" if last == failing else "finished" if last == load.rows else "running"
        reached[name] = last
        self.reported[name] = last if status == "running" else sys.maxsize
        return {"rows": news, "status": status, "reason": "loss not finite" if status == "failed" else ""}


def simulated_row(name: str, number: int, load: Load, seconds: float = 1.0) -> dict[str, float]:
    """A member's row by its number, from 1: its losses and metrics are the same in every simulation."""
    value = random.Random(f"{name} {number}").random()
    row = {"iteration": ITERATIONS_PER_ROW * number, **{loss: value + k for k, loss in enumerate(LOSSES)}}
    row |= {"seconds": seconds, "seconds_per_iteration": seconds / ITERATIONS_PER_ROW}
    row["timestamp"] = 1.7e9 + number * seconds
    if number % load.evaluate_every == 0 or number == load.rows:
        row |= {metric: value / (k + 1) for k, metric in enumerate(EVALUATION)}
    return row


def failing_row(name: str, load: Load) -> int | None:
    """The row with which a member fails; None if it does not."""
    return max(1, load.rows // 2) if random.Random(f"{name} fails").random() < load.failed else None
