"""Objectives of a search, and the best of several results: with two objectives, those that none dominates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from optuna.study import StudyDirection

from larvae.metrics import HELD_OUT_METRICS, SCORES

OBJECTIVES = {
    name: StudyDirection.MAXIMIZE if SCORES[name].higher_is_better else StudyDirection.MINIMIZE
    for name in HELD_OUT_METRICS
}
"""Objectives that a search can optimise, on held-out labels, with the direction that is better."""
Values = tuple[float, ...]
"""A value an objective, in the order of a search's objectives."""


class HasValues(Protocol):
    """Results that can be compared: a search's observations, or the report's results."""

    @property
    def values(self) -> Values: ...


Result = TypeVar("Result", bound=HasValues)


def signs(objectives: Sequence[str]) -> tuple[int, ...]:
    """1 where higher is better, else −1, by objective."""
    return tuple(1 if OBJECTIVES[name] == StudyDirection.MAXIMIZE else -1 for name in objectives)


def scores(values: Values, objectives: Sequence[str]) -> Values:
    """Values turned so that higher is better."""
    return tuple(sign * value for sign, value in zip(signs(objectives), values, strict=True))


def dominates(values: Values, others: Values, objectives: Sequence[str]) -> bool:
    """Tell whether values are better than others in one objective and worse in none."""
    return _is_above(scores(values, objectives), scores(others, objectives))


def front(results: Sequence[Result], objectives: Sequence[str]) -> list[Result]:
    """The results that no other one dominates, in their order; with one objective those of the best value."""
    scored = [(result, scores(result.values, objectives)) for result in results]
    if len(objectives) == 1:  # the same, in one pass
        best = max((own for _, own in scored), default=None)
        return [result for result, own in scored if own == best]
    return [result for result, own in scored if not any(_is_above(other, own) for _, other in scored)]


def _is_above(ours: Values, theirs: Values) -> bool:
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))
