"""A search against its budget: when seeds finished and configurations were stopped, and what was best by then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeps.analysis.search.load_search import SearchRecord
from sweeps.analysis.search.ranking import SearchResult


class End(NamedTuple):
    """The end of a seed that finished, or of a configuration that was stopped."""

    configuration: int
    status: str
    budget: int
    """Iterations that all members together had trained by then."""
    value: float


class Best(NamedTuple):
    """The best configuration as known at a budget: that of the best mean over its seeds known by then."""

    budget: int
    configuration: int
    num_seeds: int
    value: float


class History(NamedTuple):
    """One objective against the budget."""

    objective: str
    ends: tuple[End, ...]
    best: tuple[Best, ...]
    """A row a budget at which seeds finished. Not monotone: another seed can lower the mean of the best."""
    budget: int
    """Iterations trained in all."""


def history(record: SearchRecord, search: SearchResult, objective: int) -> History:
    """Follow one objective, by its place, over the iterations that all members trained in the order of time."""
    times, totals = _budget(record)
    ended = {
        seed.hash: _ended_at(record, seed.hash, configuration.stopped_at or None)
        for configuration in search.configurations
        for seed in configuration.seeds
        if seed.values
    }

    def budget_at(time: float) -> int:
        return int(totals[np.searchsorted(times, time, side="right") - 1])

    stopped = [
        End(c.number, "stopped", budget_at(max(ended[s.hash] for s in c.seeds if s.values)), c.values[objective])
        for c in search.having("stopped")
    ]
    finished = sorted(
        (ended[seed.hash], configuration.number, seed.values[objective])
        for configuration in search.finished
        for seed in configuration.seeds
        if seed.has_finished
    )
    seeds = [End(number, "finished", budget_at(time), value) for time, number, value in finished]
    best = _best_so_far(seeds, search.first_seeds, search.signs[objective])
    return History(search.objectives[objective], (*seeds, *stopped), best, int(totals[-1]))


def _best_so_far(seeds: Sequence[End], first_seeds: int, sign: int) -> tuple[Best, ...]:
    """The configuration of the best mean when seeds finished; none until one has its first seeds."""
    known: dict[int, list[float]] = {}
    found: dict[int, Best] = {}
    for end in seeds:
        known.setdefault(end.configuration, []).append(end.value)
        means = {number: np.mean(values) for number, values in known.items() if len(values) >= first_seeds}
        if means:
            number = max(means, key=lambda n: sign * means[n])
            found[end.budget] = Best(end.budget, number, len(known[number]), float(means[number]))
    return tuple(found.values())


def _budget(record: SearchRecord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (ms), ascending, and the iterations that all members had trained by then; known at evaluations and ends."""
    steps = record.evaluations[["hash", "time", "iteration"]]
    ends = record.members[["hash", "ended_at", "iterations"]].set_axis(["hash", "time", "iteration"], axis=1)
    latest = ends["hash"].map(steps.groupby("hash")["time"].max())
    ends = ends.assign(time=ends["time"].fillna(latest).fillna(0))
    rows = pd.concat([steps, ends]).sort_values("iteration", kind="stable")
    rows["trained"] = rows.groupby("hash")["iteration"].diff().fillna(rows["iteration"])
    rows = rows.sort_values("time", kind="stable")
    return rows["time"].to_numpy(), rows["trained"].cumsum().to_numpy()


def _ended_at(record: SearchRecord, member: str, stopped_at: int | None) -> float:
    """Time (ms) of a member's last evaluation, or of the one at the rung where it was stopped."""
    own = record.evaluations[record.evaluations["hash"] == member]
    chosen = own if stopped_at is None else own[own["iteration"] <= stopped_at]
    return float(chosen["time"].max())
