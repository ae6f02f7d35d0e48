"""Chooses what a trial takes, from rates and the shape of the cluster: whatever ends a study first."""

from __future__ import annotations

import functools
import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.places import Place
from sweeps.resources.rate_search import GAIN, MARGIN
from sweeps.resources.rates import Measurement, Outcome, of_members
from sweeps.resources.shares import TrialResources

ASSUMED_GPU_BYTES = 16 * 10**9
ASSUMED_TRIAL_BYTES = 2.5 * 10**9
"""A model under 2 GB and the 0.5 GB that a process's CUDA context costs: six trials on a 16 GB V100."""

Option = TypeVar("Option")


class KindRates(NamedTuple):
    """A kind of GPU, and rates of it or of one like it."""

    kind: GpuKind
    rows: Sequence[Measurement]


Sizes = Callable[[int], Sequence[int]]
"""Members of each trial that is left, given the most that one has."""


class _Filled(NamedTuple):
    """A kind of GPU as trials of some members fill it."""

    kind: GpuKind
    processes: int
    """Trials on each GPU."""
    places: int
    """Trials on all of them at once."""
    seconds: tuple[float, ...]
    """Time of a trial's iteration, by its number of members from 0 on."""


def choose(cpus: int, kinds: Sequence[KindRates], sizes: Sizes) -> TrialResources:
    """The members of a trial, and its share of each kind of GPU, with which all trials end first.

    Fewer members, or trials on a GPU, are taken where more gain little; and no GPU has more trials than there are for
    each GPU of the cluster. There must be a rate.
    """
    numbers = sorted({row.members for _, rows in kinds for row in rows if row.is_measured})
    fillings = [(number, _fill(cpus, number, kinds, sizes(number))) for number in numbers]
    members, filled = _least(fillings, lambda filling: time_of_all(sizes(filling[0]), filling[1]))
    if len(kinds) == 1:
        return TrialResources(cpus, 1 / filled[0].processes, members)
    places = tuple(Place(part.kind.resource or "", 1 / part.processes, part.places) for part in filled)
    return TrialResources(cpus, max(place.gpus for place in places), members, places)


def time_of_all(sizes: Sequence[int], filled: Iterable[_Filled]) -> float:
    """Time until trials of some sizes have ended, where each place takes the next one as soon as it is free."""
    ends = [(0.0, part.seconds) for part in filled for _ in range(part.places)]
    if not ends:
        return math.inf
    heapq.heapify(ends)
    for members in sizes:
        free_at, seconds = ends[0]
        heapq.heapreplace(ends, (free_at + seconds[members], seconds))
    return max(free_at for free_at, _ in ends)


def assumed_rates(members: int, gpu_bytes: float | None, outcome: Outcome) -> list[Measurement]:
    """Rates where nothing was measured: in proportion to the trials that a GPU holds, six if its memory is unknown."""
    fitting = max(1, int((gpu_bytes or ASSUMED_GPU_BYTES) // ASSUMED_TRIAL_BYTES))
    if outcome is Outcome.OUT_OF_MEMORY:
        fitting = 1
    numbers = sorted({1, fitting})
    return [Measurement(members, number, Outcome.MEASURED, rate=float(number)) for number in numbers]


def _fill(cpus: int, members: int, kinds: Sequence[KindRates], sizes: Sequence[int]) -> list[_Filled]:
    """The kinds that hold such trials, each as its part of them ends first."""
    all_gpus = sum(_gpus(kind) for kind, _ in kinds)
    filled = []
    for kind, rows in kinds:
        measured = of_members(rows, members)
        if not measured or measured[0].process_bytes > kind.memory:  # of a larger kind's rates
            continue
        part = sizes[: math.ceil(len(sizes) * _gpus(kind) / all_gpus)]
        options = [
            _Filled(kind, processes, _places(cpus, processes, kind), _seconds(rows, members, processes))
            for processes in _fitting(measured, kind.memory, math.ceil(len(sizes) / all_gpus))
        ]
        filled.append(_least(options, functools.partial(_time_of_one, part)))
    return filled


def _time_of_one(sizes: Sequence[int], filled: _Filled) -> float:
    return time_of_all(sizes, [filled])


def _fitting(measured: Sequence[Measurement], gpu_bytes: float, most: int) -> list[int]:
    """Numbers of processes that fit on a GPU: one, and those up to `most` and to the measured ones that leave room."""
    process_bytes = max(row.process_bytes for row in measured)
    more = range(2, min(most, measured[-1].processes) + 1)
    return [1, *(number for number in more if number * process_bytes * MARGIN <= gpu_bytes)]


def _seconds(rows: Sequence[Measurement], members: int, processes: int) -> tuple[float, ...]:
    """Times of an iteration of trials of up to so many members, so many of them at once on a GPU.

    Between the measured numbers of processes, and of members in one process, rates are linear.
    """
    measured = of_members(rows, members)
    rate = np.interp(processes, [row.processes for row in measured], [row.rate for row in measured])
    alone = sorted(row for row in rows if row.is_measured and row.processes == 1)
    numbers = np.arange(members + 1)
    rates_alone = np.interp(numbers, [0, *(row.members for row in alone)], [0.0, *(row.rate for row in alone)])
    rates = rate * rates_alone[1:] / rates_alone[-1]
    return (0.0, *(processes * numbers[1:] / rates).tolist())


def _places(cpus: int, processes: int, kind: GpuKind) -> int:
    resources = TrialResources(cpus, 1 / processes)
    return sum(resources.fitting_on(node) for node in kind.nodes)


def _gpus(kind: GpuKind) -> float:
    return sum(node["GPU"] for node in kind.nodes)


def _least(options: Sequence[Option], time: Callable[[Option], float]) -> Option:
    """The first of some options, in the order of what they take, that takes hardly more time than the fastest."""
    times = [time(option) for option in options]
    return next(option for option, seconds in zip(options, times, strict=True) if seconds <= GAIN * min(times))
