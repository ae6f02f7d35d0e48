"""Measures how fast members train on one of the cluster's GPUs, and what they take of it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from larvae.compiling import can_compile
from larvae.config import MemberConfig
from larvae.errors import one_line
from larvae.out_of_memory import is_out_of_memory
from larvae.together.group import Group
from larvae.training import ENCODING_BATCH, Trainer
from sweeps.resources.gpu_memory import CONTEXT_BYTES, cap_gpu_memory
from sweeps.resources.places import BINDING
from sweeps.resources.rates import Measurement, Outcome
from sweeps.resources.stand_ins import stand_in

PROBE_SECONDS = 300
"""A process that compiles a step may take minutes."""
WAIT_SECONDS = 300
"""Seconds that a probe waits for a GPU that nobody uses."""
SAY_SECONDS = 10
"""Waiting that is not worth a line."""
WARM_UP_STEPS = 20
"""Steps until all is compiled, and captured."""
INTERVAL_SECONDS = 5.0
"""Seconds for which steps are counted, by all processes at once."""
START_SECONDS = 0.5
"""Seconds in which all processes of a GPU hear when to count."""
STEPS_AHEAD = 8
"""Steps that a process may hand to the GPU before it waits for them: else it would end its interval late."""


class Probed(NamedTuple):
    """The members to measure with, and how they train."""

    member: MemberConfig
    cpus: int
    """CPUs of each process."""
    compiles: bool
    most_processes: int
    """Processes at once, at most: so many have their CPUs."""


class Gpu(NamedTuple):
    """A GPU, as PyTorch finds it."""

    name: str
    memory: int
    """Memory in bytes."""
    torch: str
    """Version of PyTorch, without its build."""


class GpuProbe:
    """A GPU that Ray has reserved for measurements."""

    def __init__(self, group: PlacementGroup, probed: Probed, tell: Callable[[str], None]) -> None:
        self._strategy = PlacementGroupSchedulingStrategy(group)
        self._probed = probed
        self._tell = tell
        self._compiled: set[int] = set()
        """Numbers of members that a process has compiled for, which others find in its cache."""

    def gpu(self) -> Gpu | None:
        """The reserved GPU; None where PyTorch finds none. Raises RayError."""
        ask = ray.remote(num_gpus=1, max_calls=1, max_retries=0, scheduling_strategy=self._strategy)(_gpu)
        found: Gpu | None = ray.get(ask.remote(), timeout=PROBE_SECONDS)
        return found

    def measure(self, members: int, processes: int, seconds: float) -> Measurement:
        """Train some members together in each of some processes, within so many seconds."""
        started = time.monotonic()
        process = ray.remote(num_cpus=self._probed.cpus, num_gpus=1 / processes, scheduling_strategy=self._strategy)(
            TimedProcess
        )
        there = [process.remote(self._probed, 1 / processes) for _ in range(processes)]
        try:
            warm = [one.warm_up.remote(members) for one in there]
            if self._probed.compiles and members not in self._compiled:
                self._tell_of_compilation(warm, members)
            taken = ray.get(warm, timeout=seconds)
            self._compiled.add(members)
            now = ray.get(there[0].now.remote(), timeout=seconds)  # by the node's clock, whatever the driver's says
            start = now + START_SECONDS
            counts = [one.rate.remote(start, INTERVAL_SECONDS) for one in there]
            rates = ray.get(counts, timeout=max(2 * INTERVAL_SECONDS, seconds - (time.monotonic() - started)))
            if not all(rates):
                return Measurement(members, processes, Outcome.FAILED, reason=f"no step within {INTERVAL_SECONDS:g} s")
            return Measurement(members, processes, Outcome.MEASURED, sum(rates), max(taken))
        except (ray.exceptions.RayError, RuntimeError) as error:
            return failure(members, processes, error, seconds)
        finally:
            for one in there:
                ray.kill(one)

    def _tell_of_compilation(self, warm: Sequence[Any], members: int) -> None:
        """Say that steps are being compiled, once that has taken seconds."""
        if ray.wait(list(warm), num_returns=len(warm), timeout=SAY_SECONDS)[1]:
            together = f"{members} members together" if members > 1 else "one member"
            self._tell(f"Compiling the step of {together}; takes minutes, once")


def failure(members: int, processes: int, error: Exception, seconds: float) -> Measurement:
    """The measurement that ended by an error of Ray's."""
    cause = getattr(error, "cause", None) or error
    if is_out_of_memory(cause) or isinstance(error, ray.exceptions.OutOfMemoryError):  # the latter of the node's memory
        return Measurement(members, processes, Outcome.OUT_OF_MEMORY)
    is_late = isinstance(error, ray.exceptions.GetTimeoutError)
    reason = f"it takes more than {seconds / 60:.2g} min" if is_late else one_line(cause)
    return Measurement(members, processes, Outcome.FAILED, reason=reason)


@contextlib.contextmanager
def reserved_gpu(probed: Probed, resource: str | None, tell: Callable[[str], None]) -> Iterator[GpuProbe | None]:
    """A GPU that Ray reserves when one is free, and gives back at the end; None where none is within minutes.

    resource: that of its kind, if any. tell: says a line to the user.
    """
    bundle = {"CPU": probed.cpus * probed.most_processes, "GPU": 1.0} | ({resource: BINDING} if resource else {})
    group = placement_group([bundle])
    try:
        yield GpuProbe(group, probed, tell) if _is_there(group, tell) else None
    finally:
        remove_placement_group(group)


def _is_there(group: PlacementGroup, tell: Callable[[str], None]) -> bool:
    """Tell whether Ray has reserved a GPU within some minutes; `tell` is called when that takes more than seconds."""
    started, is_told = time.monotonic(), False
    while not group.wait(1):  # no longer: Ctrl-C does not end it
        waited = time.monotonic() - started
        if waited > WAIT_SECONDS:
            return False
        if waited > SAY_SECONDS and not is_told:
            tell(f"Waiting for a free GPU to measure what a trial takes, for {WAIT_SECONDS / 60:g} min at most")
            is_told = True
    return True


def _gpu() -> Gpu | None:
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    return Gpu(found.name, found.total_memory, torch.__version__.partition("+")[0])


class TimedProcess:
    """A process that trains members as a trial does, and counts their steps."""

    device = "cuda"

    def __init__(self, probed: Probed, gpus: float) -> None:
        """gpus: the share that the process holds."""
        self._probed = probed
        torch.set_num_threads(probed.cpus)
        if gpus < 1 and torch.cuda.is_available():
            cap_gpu_memory(gpus)

    def warm_up(self, members: int) -> float:
        """Take the first steps, and encode as an evaluation does; the bytes that this process takes of the GPU."""
        dataset = stand_in(self._probed.member.dataset)
        compiled = self._probed.compiles and can_compile("cuda")
        configs = [dataclasses.replace(self._probed.member, seed=seed) for seed in range(members)]
        trainers = [Trainer(config, dataset, device=self.device, compiled=compiled) for config in configs]
        self._members = members
        self._step = Group(trainers).step  # of one, too, as a trial has it
        for _ in range(WARM_UP_STEPS):
            self._step()
        trainers[0].posterior_means(np.arange(ENCODING_BATCH))
        self._wait()
        return self._taken() + CONTEXT_BYTES

    def now(self) -> float:
        """Seconds since the epoch, by this node's clock."""
        return time.time()

    def rate(self, start: float, seconds: float) -> float:
        """Model-iterations a second in an interval, before which steps are taken too, so that no process has more room.

        start: seconds since the epoch, by the clock that all processes of a GPU share.
        """
        while time.time() < start:
            self._step()
            self._wait()
        began, steps = time.perf_counter(), 0
        while time.time() < start + seconds:
            self._step()
            steps += 1
            if steps % STEPS_AHEAD == 0:
                self._wait()
        self._wait()
        return steps * self._members / (time.perf_counter() - began)

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _taken(self) -> float:
        return torch.cuda.max_memory_reserved() if self.device == "cuda" else 0.0
