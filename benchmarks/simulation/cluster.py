"""A stand-in for Ray: room for so many trials, and calls that end in simulated time."""

from __future__ import annotations

import contextlib
import heapq
import importlib
import itertools
import pickle
import random
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import ray
from ray.air.execution.resources.resource_manager import ResourceManager

from larvae.config import MemberConfig
from simulation.clock import Clock, SimulatedTime
from simulation.ray_costs import RayCosts
from simulation.trials import Future, Load, Seen, SimulatedTrial
from sweeps.study import StudyDirectory


class SimulatedCluster:
    """Answers what Tune asks of Ray. `installed` puts it in Ray's place."""

    def __init__(
        self, load: Load, costs: RayCosts, report_seconds: Callable[[], float], directory: StudyDirectory
    ) -> None:
        """report_seconds: how long a trial gathers rows before it reports them. directory: where it keeps them."""
        self.load, self.report_seconds, self.directory = load, report_seconds, directory
        self.task_seconds, self.actor_seconds, self._waiting_seconds = costs
        self.clock, self.seen, self.random = Clock(), Seen(), random.Random(load.seed)
        self.reached: dict[str, int] = {}
        """Rows of each member so far, by content hash: what its checkpoint holds."""
        self._kept: dict[str, float] = {}
        self.on_wait: Callable[[], float | None] = lambda: None
        """Called whenever the driver waits; when it wants to be called again, if it does."""
        self.is_over: Callable[[], bool] = lambda: False
        """True if the study is to be interrupted, as by Ctrl-C."""
        self._queue: list[tuple[float, int, Future]] = []
        self._number = itertools.count()
        self._ready: list[Future] = []

    def later(self, seconds: float, outcome: Any, priority: int, on_error: Callable[[], None] | None = None) -> Future:
        """A future that is due after some seconds. outcome: its value, pickled, or an exception."""
        future = Future(self.clock.now() + seconds, outcome, priority, on_error)
        heapq.heappush(self._queue, (future.due, next(self._number), future))
        return future

    def wait(
        self, futures: Sequence[Future], *, num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[Future], list[Future]]:
        """`ray.wait`; what is not ready is not returned."""
        self.clock.modelled += self._waiting_seconds * len(futures)
        with self.clock.simulating():
            if self.is_over():
                raise KeyboardInterrupt
            wanted = set(futures)
            until = self.clock.now() + (1e9 if timeout is None else timeout)
            again = self.on_wait()
            while not self._collect(wanted) and self.clock.now() < until:
                due = self._queue[0][0] if self._queue else until
                self.clock.skip_to(min(due, until, again or until))
                again = self.on_wait()
            return heapq.nsmallest(num_returns, self._ready, key=lambda future: future.priority), []

    def _collect(self, wanted: set[Future]) -> bool:
        """Take what is due by now; whether there is any. What is not wanted has been discarded by Tune."""
        while self._queue and self._queue[0][0] <= self.clock.now():
            self._ready.append(heapq.heappop(self._queue)[2])
        self._ready = [future for future in self._ready if future in wanted]
        return bool(self._ready)

    def get(self, future: Future) -> Any:
        """`ray.get` of a future that is ready."""
        if isinstance(future.outcome, Exception):
            if future.on_error is not None:
                future.on_error()
            raise future.outcome
        value = pickle.loads(future.outcome)
        if isinstance(value, dict) and "members" in value:
            self.seen.results += 1
            with self.clock.simulating():
                self._keep(value)
        return value

    def _keep(self, result: dict[str, Any]) -> None:
        """Write into the members' folders what a trial has written before it reported this."""
        for config in map(MemberConfig.from_dict, result["config"]["members"]):
            news, files = result["members"].get(config.content_hash), self.directory.member(config)
            if news is None:
                continue
            last = self._kept.get(config.content_hash, 0)
            if rows := [row for row in news["rows"] if row["iteration"] > last]:
                files.append_rows(rows)
                self._kept[config.content_hash] = rows[-1]["iteration"]
            if news["status"] != "running":
                files.write_result(config, news["status"], files.read_rows()[0], news["reason"])

    def resources(self) -> dict[str, float]:
        """`ray.cluster_resources`."""
        return {"CPU": float(self.load.trials), "GPU": self.load.trials / 6, "memory": 1e15}

    def nodes(self) -> list[dict[str, Any]]:
        """`ray.nodes`: nodes of 8 GPUs, of which each trial takes a sixth, and of a CPU for each."""
        whole, rest = divmod(self.load.trials, 48)
        trials = [48] * whole + [rest] * bool(rest)
        return [{"Alive": True, "Resources": {"CPU": float(n), "GPU": float(-(-n // 6))}} for n in trials]

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Put this cluster, and its time, in the place of Ray's."""
        fake = types.SimpleNamespace(
            **{name: getattr(ray, name) for name in ("actor", "remote", "exceptions", "ObjectRef")},
            wait=self.wait,
            get=self.get,
            kill=lambda actor: actor.die(),
            cluster_resources=self.resources,
        )
        simulated_time = SimulatedTime(self.clock)
        replacements = [
            ("ray.air.execution._internal.actor_manager", "ray", fake),
            ("ray.air.execution._internal.event_manager", "ray", fake),
            ("ray.tune.execution.tune_controller", "PlacementGroupResourceManager", lambda: SimulatedResources(self)),
            ("ray.tune.execution.tune_controller", "time", simulated_time),
            ("ray.tune.execution.experiment_state", "time", simulated_time),
            ("ray", "cluster_resources", self.resources),
            ("ray", "nodes", self.nodes),
            ("sweeps.console.progress", "time", simulated_time),
            ("sweeps.driver.gauges", "time", simulated_time),
            ("sweeps.driver.waiting", "time", simulated_time),
            ("sweeps.driver.watchdog", "time", simulated_time),
            ("sweeps.driver.workarounds.events_in_one_go", "ray", fake),
            ("sweeps.driver.workarounds.events_in_one_go", "time", simulated_time),
        ]
        with contextlib.ExitStack() as stack:
            for module, name, value in replacements:
                with contextlib.suppress(ImportError):  # a module that an earlier version of this project lacks
                    stack.enter_context(mock.patch.object(importlib.import_module(module), name, value))
            yield


class SimulatedResources(ResourceManager):
    """Tune's placement groups: each is there at once while the cluster has room."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self._free = cluster.load.trials
        self._requested: Counter[Any] = Counter()

    def request_resources(self, resource_request: Any) -> None:
        self._requested[resource_request] += 1

    def cancel_resource_request(self, resource_request: Any) -> None:
        self._requested[resource_request] -= 1

    def has_resources_ready(self, resource_request: Any) -> bool:
        return self._free > 0 and self._requested[resource_request] > 0

    def acquire_resources(self, resource_request: Any) -> Acquired:
        self._requested[resource_request] -= 1
        self._free -= 1
        return Acquired(self.cluster, resource_request)

    def free_resources(self, acquired_resource: Acquired) -> None:
        self._free += 1

    def get_resource_futures(self) -> list[Future]:
        return []

    def update_state(self) -> None:
        pass

    def clear(self) -> None:
        pass


@dataclass(slots=True)
class Acquired:
    """Room for one trial."""

    cluster: SimulatedCluster
    resource_request: Any

    def annotate_remote_entities(self, entities: Sequence[Any]) -> list[Any]:
        return [types.SimpleNamespace(remote=lambda **kwargs: SimulatedTrial(self.cluster, kwargs["config"]))]
