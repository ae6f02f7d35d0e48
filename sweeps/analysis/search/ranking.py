"""An adaptive search in numbers: its configurations, and which are best.

A configuration is judged by the mean of its finished seeds on held-out labels. One that was stopped at a rung has
trained for less: its value there is kept apart from those of finished ones, in everything that is computed here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from larvae.errors import InvalidInputError, require_known
from larvae.metrics import held_out
from sweeps.adaptive.objectives import OBJECTIVES, Values, front, signs
from sweeps.adaptive.space import Space
from sweeps.analysis.estimates import Interval, mean_interval
from sweeps.analysis.names import written
from sweeps.analysis.search.load_search import HELD_OUT, SearchRecord
from sweeps.tracking.mlflow_names import FAILED, FINISHED, STOPPED


class Seed(NamedTuple):
    """A member of a configuration."""

    seed: int
    hash: str
    has_finished: bool
    values: Values
    """Values of the objectives at its end; of a stopped configuration at the rung; () where there is none."""


class ConfigurationResult(NamedTuple):
    """A suggestion and what has become of it, with its members."""

    number: int
    """Number from 0, in the order of the suggestions."""
    point: dict[str, Any]
    """Point as Optuna holds it."""
    fields: dict[str, float | int]
    """The searched fields of MemberConfig."""
    status: str
    """finished, stopped, failed or running, as the search counts it: one failed seed is enough for failed."""
    stopped_at: int
    """Iteration of the rung; 0 where it was not stopped."""
    seeds: tuple[Seed, ...]

    @property
    def is_finished(self) -> bool:
        return self.status == "finished"

    @property
    def seed_values(self) -> list[Values]:
        """Values of the seeds that count: the finished ones; of a stopped configuration those that reached the rung."""
        stopped = self.status == "stopped"
        return [seed.values for seed in self.seeds if seed.values and (stopped or seed.has_finished)]

    @property
    def num_seeds(self) -> int:
        return len(self.seed_values)

    def interval(self, objective: int) -> Interval:
        """Mean, t-interval and standard deviation over the seeds that count, of one objective by its place."""
        return mean_interval([values[objective] for values in self.seed_values])

    @property
    def values(self) -> Values:
        """Means over the seeds that count; () where there is none."""
        return tuple(float(column) for column in np.mean(self.seed_values, axis=0)) if self.seed_values else ()


class SearchResult(NamedTuple):
    """The findings of a search, whether it has ended or not."""

    study: str
    dataset: str
    sampler: str
    space: Space
    objectives: tuple[str, ...]
    """Objectives, of OBJECTIVES, all on held-out labels."""
    iterations: int
    rungs: tuple[int, ...]
    first_seeds: int
    planned_seeds: int
    """Seeds that the best configurations get."""
    configurations: tuple[ConfigurationResult, ...]
    """Configurations by number."""

    def having(self, status: str) -> list[ConfigurationResult]:
        """Configurations of a status that have values."""
        return [c for c in self.configurations if c.status == status and c.values]

    @property
    def finished(self) -> list[ConfigurationResult]:
        return self.having("finished")

    @property
    def signs(self) -> tuple[int, ...]:
        """1 where higher is better, else −1, by objective."""
        return signs(self.objectives)

    @property
    def counts(self) -> str:
        """Configurations by status in words, such as `24 configurations: 15 finished, 8 stopped, 1 failed`."""
        statuses = [c.status for c in self.configurations]
        parts = [f"{statuses.count(s)} {s}" for s in ("finished", "stopped", "failed", "running") if s in statuses]
        return f"{len(statuses)} configurations: {', '.join(parts)}"

    @property
    def heading(self) -> str:
        """The heading, such as `search-quick: dSprites, 900 iterations; 24 configurations: …`."""
        return f"{self.study}: {written(self.dataset)}, {self.iterations:,} iterations; {self.counts}"


def summarise(record: SearchRecord) -> SearchResult:
    """The configurations of a search as it stands. Raises InvalidInputError where its description lacks something."""
    told = record.description
    try:
        search = SearchResult(
            study=record.study,
            dataset=str(record.members["dataset"].iloc[0]),
            sampler=str(told["sampler"]),
            space=Space.from_dict(told["space"]),
            objectives=tuple(str(name) for name in told["objectives"]),
            iterations=int(told["iterations"]),
            rungs=tuple(int(rung) for rung in told["rungs"]),
            first_seeds=int(told["first_seeds"]),
            planned_seeds=int(told["seeds"]),
            configurations=(),
        )
        _require_objectives(search.objectives)
        groups = [members for _, members in record.members.groupby("configuration")]
        found = [_configuration(record, search, members) for members in groups]
    except (KeyError, TypeError, ValueError) as error:
        rule, reason = "the tags of `study` must describe a search of this version", str(error)
        if isinstance(error, KeyError):
            reason = f"{error} is missing"
        raise InvalidInputError(f"{rule}, got {record.study}: {reason}") from None
    return search._replace(configurations=tuple(found))


def _require_objectives(objectives: tuple[str, ...]) -> None:
    if not objectives:
        raise ValueError("no objectives")
    for name in objectives:
        require_known("objectives", name, OBJECTIVES)


def ranked(search: SearchResult) -> list[ConfigurationResult]:
    """The finished configurations, best first: by fronts where there are two objectives, then by the first one."""
    rest = _by_first_objective(search)
    if len(search.objectives) == 1:
        return rest
    ordered: list[ConfigurationResult] = []
    while rest:
        best = front(rest, search.objectives)
        ordered += best
        rest = [c for c in rest if c not in best]
    return ordered


def best_in(search: SearchResult, objective: int) -> ConfigurationResult:
    """The finished configuration, there must be one, of the best mean of one objective, by its place."""
    return max(search.finished, key=lambda c: search.signs[objective] * c.values[objective])


def pareto_front(search: SearchResult) -> list[ConfigurationResult]:
    """The finished configurations that no other dominates, best in the first objective first."""
    return front(_by_first_objective(search), search.objectives)


def failures(record: SearchRecord, search: SearchResult) -> list[str]:
    """Members that failed, for example `configuration 4 seed 0 (loss is nan)`."""
    failed = {
        str(row["hash"]): str(row["reason"]) for row in record.members.to_dict("records") if row["status"] == FAILED
    }
    return [
        f"configuration {configuration.number} seed {seed.seed} ({failed[seed.hash] or 'no reason logged'})"
        for configuration in search.configurations
        for seed in configuration.seeds
        if seed.hash in failed
    ]


def _configuration(record: SearchRecord, search: SearchResult, members: pd.DataFrame) -> ConfigurationResult:
    point = dict(members["point"].iloc[0])
    # The tag stays with a member that was stopped by an earlier command and trains on in a longer search.
    rungs = members.loc[members["status"] == STOPPED, "stopped_at"].dropna()
    stopped_at = int(rungs.min()) if len(rungs) else 0
    seeds = tuple(_seed(record, search, row, stopped_at) for row in members.sort_values("seed").to_dict("records"))
    if stopped_at:
        status = "stopped"
    elif (members["status"] == FAILED).any():
        status = "failed"
    else:
        status = "finished" if sum(seed.has_finished for seed in seeds) >= search.first_seeds else "running"
    number = int(members["configuration"].iloc[0])
    return ConfigurationResult(number, point, search.space.fields(point), status, stopped_at, seeds)


def _seed(record: SearchRecord, search: SearchResult, row: dict[Any, Any], stopped_at: int) -> Seed:
    """A member; what it trained beyond a rung while the verdict was open does not count.

    One that finished in an earlier, shorter search and has not trained on has not finished in this one.
    """
    evaluation = held_out_evaluation(record, row, stopped_at)
    values = tuple(evaluation[held_out(name)] for name in search.objectives)
    known = () if any(math.isnan(value) for value in values) else values
    is_at_end = row["status"] == FINISHED and evaluation["iteration"] >= search.iterations
    return Seed(int(row["seed"]), str(row["hash"]), is_at_end and not stopped_at and bool(known), known)


def held_out_evaluation(record: SearchRecord, row: dict[Any, Any], stopped_at: int) -> dict[str, float]:
    """HELD_OUT and iteration of a member's last evaluation, or of the one at a rung > 0; NaN where there is none."""
    own = record.evaluations[record.evaluations["hash"] == row["hash"]]
    chosen = own[own["iteration"] == stopped_at] if stopped_at else own.nlargest(1, "iteration")
    if chosen.empty:
        return dict.fromkeys(("iteration", *HELD_OUT), math.nan)
    return {name: float(chosen.iloc[0][name]) for name in ("iteration", *HELD_OUT)}


def _by_first_objective(search: SearchResult) -> list[ConfigurationResult]:
    """The finished configurations, best in the first objective first."""
    return sorted(search.finished, key=lambda c: search.signs[0] * c.values[0], reverse=True)
