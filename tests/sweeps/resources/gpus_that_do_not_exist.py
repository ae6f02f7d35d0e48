"""GPUs that do not exist: they are measured by arithmetic, and their clock is their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sweeps.resources.choosing import KindRates, choose
from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.rate_search import RateSearch, members_to_try
from sweeps.resources.rates import Conditions, GpuRates, Measurement, Outcome
from sweeps.resources.shares import TrialResources


def saturating(most: float, half: float) -> Callable[[int, int], float]:
    """Rates of a GPU that small models do not fill. half: members that reach half of its most."""
    return lambda members, processes: most * members * processes / (members * processes + half)


def bound_by_hosts(most: float, process: float) -> Callable[[int, int], float]:
    """Rates of a GPU that waits for the processes that feed it: each reaches so much, from four members on."""
    return lambda members, processes: min(most, processes * process * min(1.0, members / 4))


@dataclass
class Gpu:
    """A GPU with a clock."""

    name: str
    gigabytes: float
    rate: Callable[[int, int], float]
    member_gigabytes: float = 0.35
    process_gigabytes: float = 0.9
    reserve_gigabytes: float = 0.0
    """What is counted beside that as taken."""
    compile_seconds: float = 90.0
    start_seconds: float = 20.0
    now: float = 0.0
    compiled: set[int] = field(default_factory=set)

    def measure(self, members: int, processes: int, seconds: float) -> Measurement:
        """As a probe does; each number of members compiles once."""
        needed = self.start_seconds + (0 if members in self.compiled else self.compile_seconds)
        self.now += min(needed, seconds)
        if needed > seconds:
            return Measurement(members, processes, Outcome.FAILED, reason="no time")
        self.compiled.add(members)
        taken = self.process_gigabytes + self.member_gigabytes * members
        if taken * processes > self.gigabytes:
            return Measurement(members, processes, Outcome.OUT_OF_MEMORY)
        reserved = (taken + self.reserve_gigabytes) * 1e9
        return Measurement(members, processes, Outcome.MEASURED, self.rate(members, processes), reserved)

    def search(self, together: int, most_processes: int = 8, seconds: float = 600) -> GpuRates:
        """Measure it as a sweep does."""
        members, memory = members_to_try(together), round(self.gigabytes * 1e9)
        search = RateSearch(members, most_processes, memory, self.measure, seconds=seconds, clock=lambda: self.now)
        return GpuRates(Conditions(self.name, memory, "2.13.0", "", 1, True, members, most_processes), search.run())


def h100(rate: Callable[[int, int], float] | None = None) -> Gpu:
    return Gpu("NVIDIA H100 80GB HBM3", 80, rate or saturating(3000, 10))


def v100(rate: Callable[[int, int], float] | None = None) -> Gpu:
    return Gpu("Tesla V100-SXM2-16GB", 16, rate or saturating(700, 3))


def sizes_of(total: int) -> Callable[[int], Sequence[int]]:
    """Trials of a study whose members are all alike."""
    return lambda members: [members] * (total // members) + [total % members] * bool(total % members)


def chosen(rates: GpuRates, total: int, gpus: int = 1, cpus: int = 64) -> TrialResources:
    """Choose for a study of so many members on one node of such GPUs."""
    kind = GpuKind(None, rates.conditions.gpu_bytes, ({"CPU": float(cpus), "GPU": float(gpus)},))
    return choose(1, [KindRates(kind, rates.rows)], sizes_of(total))
