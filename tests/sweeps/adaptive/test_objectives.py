"""Which results are better, by one objective or two."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from optuna.study import StudyDirection

from sweeps.adaptive.objectives import OBJECTIVES, Values, dominates, front, scores, signs

BOTH = ("mig", "l2")


class Judged(NamedTuple):
    """A result with nothing but values."""

    values: Values


def some_results(objectives: tuple[str, ...], seed: int) -> list[Judged]:
    """With some values that are equal."""
    generator = random.Random(seed)
    return [Judged(tuple(round(generator.random(), 1) for _ in objectives)) for _ in range(30)]


def test_directions_are_up_for_mig_and_down_for_l2() -> None:
    assert OBJECTIVES == {"mig": StudyDirection.MAXIMIZE, "l2": StudyDirection.MINIMIZE}
    assert signs(BOTH) == (1, -1)
    assert scores((0.4, 0.5), ("l2", "mig")) == (-0.4, 0.5)


def test_dominance_is_better_in_one_and_worse_in_none() -> None:
    assert dominates((0.5, 0.3), (0.5, 0.4), BOTH)
    assert dominates((0.6, 0.4), (0.5, 0.4), BOTH)
    assert not dominates((0.5, 0.4), (0.5, 0.4), BOTH)
    assert not dominates((0.6, 0.5), (0.5, 0.4), BOTH)
    assert not dominates((0.5, 0.4), (0.6, 0.5), BOTH)
    generator = random.Random(0)
    for _ in range(300):
        a, b, c = (tuple(round(generator.random(), 1) for _ in range(2)) for _ in range(3))
        assert not (dominates(a, b, BOTH) and dominates(b, a, BOTH))
        assert not (dominates(a, b, BOTH) and dominates(b, c, BOTH)) or dominates(a, c, BOTH)


@pytest.mark.parametrize("objectives", [("mig",), ("l2",), BOTH])
@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nothing_dominates_in_its_order(objectives: tuple[str, ...], seed: int) -> None:
    results = some_results(objectives, seed)
    undominated = [r for r in results if not any(dominates(o.values, r.values, objectives) for o in results)]
    assert front(results, objectives) == undominated != []


@pytest.mark.parametrize("objectives", [("mig",), BOTH])
def test_nothing_has_an_empty_front(objectives: tuple[str, ...]) -> None:
    assert front([], objectives) == []
