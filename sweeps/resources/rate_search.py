"""Decides which ways to fill a GPU are measured, the most telling first, within a number of minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from sweeps.resources.rates import Measurement

LEAST_SECONDS = 20.0
"""Seconds that a measurement needs at least: a process starts, and steps are compiled or found in a cache."""
FIRST_TOGETHER = 8
"""Members together that are measured first: more seldom reach twice their rate, and each number compiles anew."""
MEMBERS = (1, 4, 8, 16, 32)
"""Numbers of members together that are tried."""
PROCESSES = (1, 2, 4, 8)
"""Numbers of processes at once that are tried."""
GAIN = 1.05
"""Growth of a rate that is worth more members, or processes."""
MARGIN = 1.2
"""Room of a GPU's memory for what the allocator fragments, to what its processes have taken."""

Measure = Callable[[int, int, float], Measurement]
"""Measures a number of members together in a number of processes at once, in so many seconds at most."""


def members_to_try(together: int) -> tuple[int, ...]:
    """Numbers of members, in ascending order, where at most `together` are alike."""
    most = min(together, MEMBERS[-1])
    return (*(number for number in MEMBERS if 1.5 * number <= most), most)


class RateSearch:
    """Measures one kind of GPU.

    First the numbers of members with one process, upwards from eight while the rate grows, and downwards while memory
    is too small; then more processes of the best; then what fewer members reach, for studies that have no more.
    """

    def __init__(
        self,
        members: Sequence[int],
        most_processes: int,
        gpu_bytes: float,
        measure: Measure,
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """members: numbers together to try, in ascending order. gpu_bytes: memory of the GPU.

        seconds: those that all measurements take at most, compilation included.
        """
        self.rows: list[Measurement] = []
        self._members = tuple(members)
        self._processes = [number for number in PROCESSES if number <= max(1, most_processes)]
        self._gpu_bytes = gpu_bytes
        self._measure = measure
        self._clock = clock
        self._ends_at = clock() + seconds

    def run(self) -> tuple[Measurement, ...]:
        """All rows that were measured, in their order; what is out of memory or failed among them."""
        first = max((number for number in self._members if number <= FIRST_TOGETHER), default=self._members[0])
        fewer = [number for number in reversed(self._members) if number < first]
        self._climb((number, 1) for number in self._members if number >= first)
        for number in fewer:
            if not self._best():
                self._row(number, 1)
        if best := self._best():
            self._climb((best.members, number) for number in self._processes)
        for number in fewer:
            self._climb((number, processes) for processes in self._processes)
        return tuple(self.rows)

    def _best(self) -> Measurement | None:
        """The row of the highest rate; of fewer members where more gain little."""
        measured = [row for row in self.rows if row.is_measured]
        highest = max((row.rate for row in measured), default=0.0)
        return min((row for row in measured if row.rate * GAIN >= highest), default=None)

    def _climb(self, settings: Iterable[tuple[int, int]]) -> None:
        """Measure settings of members and processes in their order, until one gains little over the one before."""
        before = 0.0
        for members, processes in settings:
            row = self._row(members, processes)
            if row is None or not row.is_measured or row.rate < before * GAIN:
                return
            before = row.rate

    def _row(self, members: int, processes: int) -> Measurement | None:
        """A setting's row, measured once; None where it would not fit, or there is no time."""
        known = {(row.members, row.processes): row for row in self.rows}
        if row := known.get((members, processes)):
            return row
        alone = known.get((members, 1))
        if alone and alone.process_bytes * processes * MARGIN > self._gpu_bytes:
            return None
        left = self._ends_at - self._clock()
        if left < LEAST_SECONDS:
            return None
        self.rows.append(self._measure(members, processes, left))
        return self.rows[-1]
