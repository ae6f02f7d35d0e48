"""Better and worse results, by one objective or two."""

from __future__ import annotations

import random
from typing import NamedTuple

from optuna.study import StudyDirection

from sweeps.adaptive.objectives import OBJECTIVES, Values, dominates, front, scores, signs

BOTH = ("mig", "l2")


class Judged(NamedTuple):
    """A result with nothing but values."""

    values: Values


def test_up_is_better_for_mig_and_down_for_l2() -> None:
    assert OBJECTIVES == {"mig": StudyDirection.MAXIMIZE, "l2": StudyDirection.MINIMIZE}
    assert signs(BOTH) == (1, -1)
    assert scores((0.4, 0.5), ("l2", "mig")) == (-0.4, 0.5)
    assert dominates((0.5, 0.3), (0.5, 0.4), BOTH)
    assert dominates((0.6, 0.4), (0.5, 0.4), BOTH)
    assert not dominates((0.5, 0.4), (0.5, 0.4), BOTH)
    assert not dominates((0.6, 0.5), (0.5, 0.4), BOTH)


def test_the_front_is_what_nothing_dominates_in_its_order() -> None:
    generator = random.Random(0)
    for objectives in (("mig",), ("l2",), BOTH):
        assert front([], objectives) == []
        for _ in range(20):  # with some values that are equal
            results = [Judged(tuple(round(generator.random(), 1) for _ in objectives)) for _ in range(30)]
            beaten = [any(dominates(o.values, r.values, objectives) for o in results) for r in results]
            assert front(results, objectives) == [r for r, b in zip(results, beaten, strict=True) if not b] != []
            a, b, c = (result.values for result in results[:3])
            assert not (dominates(a, b, objectives) and dominates(b, a, objectives))
            assert dominates(a, c, objectives) or not (dominates(a, b, objectives) and dominates(b, c, objectives))
