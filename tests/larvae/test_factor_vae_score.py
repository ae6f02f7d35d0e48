"""The FactorVAE score where votes can be told in advance, and on dSprites."""

from __future__ import annotations

import numpy as np
import pytest

from larvae.metrics.factor_vae_score import factor_vae_score
from tests.larvae.representations import Pools, combinations, repeated

PAIRS = combinations(2, 2)
A, B = PAIRS.T
MANY = 40_000
"""Votes, of which a share has a standard deviation of at most .0025."""


def score(pools: Pools, **counts: int) -> float:
    return factor_vae_score(*pools, np.random.default_rng(0), **counts)


def test_factor_that_is_not_encoded_loses_its_votes() -> None:
    """Its votes go to the two dimensions by chance, whose majorities are their own factors: 2 of 3 are right."""
    classes = combinations(2, 2, 2)
    for dimensions, expected in ((2, 2 / 3), (1, 1 / 3)):
        pools = repeated(classes[:, :dimensions], classes)
        assert score(pools, num_test_votes=MANY) == pytest.approx(expected, abs=0.01)
    assert score(repeated(0.01 * PAIRS, PAIRS)) == 0  # no live dimension


DEPENDENT = np.column_stack([A, A * B / 2])
"""With A fixed the first dimension does not vary and wins, on a tie where A = 0 and both do not.

With B = 0 the second does not vary and wins. With B = 1 it is half the first: relative to the whole
pool, where the second's values are rarely 1/2, the first varies less and wins.
"""


def test_variances_count_relative_to_the_pools() -> None:
    """First dimension: 1/2 of all votes are A's, 1/4 B's. Second: 1/4, all B's. So 3/4 are right."""
    assert score(repeated(DEPENDENT, PAIRS), num_test_votes=MANY) == pytest.approx(3 / 4, abs=0.01)


def test_values_occur_as_often_as_in_the_pool() -> None:
    """B = 1 in three of four images: now 3/8 of all votes are B's for the first dimension, and lost; 5/8 are right."""
    rows = np.array([0, 1, 1, 1, 2, 3, 3, 3])
    pools = repeated(DEPENDENT[rows], PAIRS[rows])
    assert score(pools, num_test_votes=MANY) == pytest.approx(5 / 8, abs=0.01)


def test_majority_is_of_the_train_pool_and_accuracy_of_the_test_pool() -> None:
    codes, exchanged = repeated(PAIRS, PAIRS), repeated(PAIRS[:, ::-1], PAIRS)
    assert score(codes) == 1
    assert score(codes._replace(test_codes=exchanged.codes)) == 0


@pytest.mark.parametrize(("spread", "expected"), [(0.049, 0.5), (0.051, 1.0)])
def test_collapsed_dimension_has_no_vote(spread: float, expected: float) -> None:
    """A standard deviation of .05 decides; one live dimension alone gets the votes of both factors."""
    columns = np.column_stack([2 * spread * A, B])  # a binary factor's standard deviation is 1/2
    assert score(repeated(columns, PAIRS), num_test_votes=MANY) == pytest.approx(expected, abs=0.01)
