"""The memory of an adaptive study: its rules, configurations, and their members as far as they have come."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from larvae.config import MemberConfig
from larvae.member_directory import Row
from larvae.metrics import held_out
from sweeps.adaptive.objectives import Values
from sweeps.adaptive.sampling import Suggestion


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The rules by which an adaptive study goes on."""

    configurations: int
    """Configurations that are tried."""
    seeds: int
    """Seeds that the best configurations get."""
    first_seeds: int
    """Seeds that every configuration gets."""
    parallel: int
    """Jobs that train at once."""
    iterations: int
    rungs: tuple[int, ...]
    """Iterations at which configurations are compared, ascending; none where all train to the end."""
    reduction: int
    """The best 1/reduction of a rung goes on."""
    objectives: tuple[str, ...]
    """Objectives that are optimised, of OBJECTIVES, on held-out labels."""
    reproducible: bool = True

    def objective_values(self, row: Row) -> Values | None:
        """The objectives in a member's row: on held-out labels, and nothing else. None where it has none."""
        names = [held_out(name) for name in self.objectives]
        return tuple(row[name] for name in names) if names[0] in row else None


@dataclass(eq=False)
class Run:
    """A member as far as it has come."""

    config: MemberConfig
    reached: int = 0
    values: dict[int, Values] = field(default_factory=dict)
    """Values of the objectives by iteration."""
    status: str = "open"
    """open, finished, failed or stopped."""


@dataclass(eq=False)
class Configuration:
    """A suggestion and its runs, in the order of their seeds."""

    number: int
    suggestion: Suggestion
    first: list[Run]
    """The runs that every configuration has."""
    more: list[Run] = field(default_factory=list)
    """The runs of seeds that were added."""
    rungs_passed: int = 0
    stopped_at: int | None = None
    """The rung at which it was none of the best."""

    @property
    def runs(self) -> list[Run]:
        return self.first + self.more

    def values_at(self, iteration: int) -> Values | None:
        """Means over the first seeds at an iteration; None while they are not all there."""
        values = [run.values.get(iteration) for run in self.first]
        return None if None in values else means(v for v in values if v is not None)

    def never_reaches(self, iteration: int) -> bool:
        """Tell whether a first seed has ended without a value at an iteration, so that there is no mean of them."""
        return any(run.status != "open" and iteration not in run.values for run in self.first)


@dataclass(eq=False)
class Job:
    """Runs of one configuration that start together, and when, on a clock that counts iterations."""

    configuration: Configuration
    runs: list[Run]
    start: int

    @property
    def is_first(self) -> bool:
        return self.runs[0] is self.configuration.first[0]

    def end(self, rules: Rules) -> int | None:
        """The time at which it ends, on the clock; None while that is open."""
        if self.is_first and self.configuration.stopped_at is not None:
            return self.start + self.configuration.stopped_at
        if any(run.status == "open" for run in self.runs) or self._awaited_rung(rules) is not None:
            return None
        return self.start + max(run.reached + (run.status == "failed") for run in self.runs)

    def earliest_end(self, rules: Rules) -> int:
        """The clock cannot show less when a job ends whose end is open: it trains on, or is stopped at a rung."""
        next_row = max(min(run.reached + 1, rules.iterations) for run in self.runs)
        rung = self._rung_ahead(rules)
        return self.start + (next_row if rung is None else min(next_row, rung))

    def _awaited_rung(self, rules: Rules) -> int | None:
        """A rung that it has reached and whose verdict is open."""
        rung = self._rung_ahead(rules)
        return rung if rung is not None and self.configuration.values_at(rung) is not None else None

    def _rung_ahead(self, rules: Rules) -> int | None:
        """The next rung at which it may be stopped, even if some of its seeds are further."""
        configuration = self.configuration
        if not self.is_first or configuration.rungs_passed == len(rules.rungs):
            return None
        rung = rules.rungs[configuration.rungs_passed]
        return None if configuration.never_reaches(rung) else rung


def means(rows: Iterable[Values]) -> Values:
    """Mean of each column."""
    return tuple(statistics.fmean(column) for column in zip(*rows, strict=True))
