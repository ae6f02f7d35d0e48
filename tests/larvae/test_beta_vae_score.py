"""The β-VAE score where it is known which factors can be told apart, and on dSprites."""

from __future__ import annotations

import numpy as np
import pytest

from larvae.metrics.beta_vae_score import beta_vae_score
from tests.larvae.representations import Pools, combinations, repeated

FOUR = combinations(2, 2, 2, 2)


def score(pools: Pools, **counts: int) -> float:
    return beta_vae_score(*pools, np.random.default_rng(0), **counts)


@pytest.mark.parametrize(
    ("num_encoded", "expected"),
    [(4, 1), (3, 1), (2, 3 / 4), (1, 1 / 2)],  # all factors that are not encoded look alike: one of them is guessed
)
def test_factors_that_are_not_encoded_cannot_be_told_apart(num_encoded: int, expected: float) -> None:
    pools = repeated(FOUR[:, :num_encoded], FOUR)
    assert score(pools, num_test_points=20_000) == pytest.approx(expected, abs=0.02)


def test_pairs_share_the_value_and_need_not_share_it_with_other_pairs() -> None:
    """Only then a factor of many values leaves no difference, and a single pair is enough to tell it."""
    classes = combinations(30, 30)
    assert score(repeated(classes, classes, times=4), batch_size=1) > 0.95


def test_features_are_means_over_pairs() -> None:
    """The more pairs, the better are two factors told apart that differ in degree only."""
    codes = FOUR[:, :2] @ np.array([[1.0, 0.5], [0.5, 1.0]])
    pools = repeated(codes, FOUR[:, :2])
    few, many = score(pools, batch_size=2), score(pools, batch_size=64)
    assert 0.5 < few < 0.9
    assert many > 0.95


def test_classifier_is_of_the_train_pool_and_accuracy_of_the_test_pool() -> None:
    codes, exchanged = repeated(FOUR[:, :2], FOUR[:, :2]), repeated(FOUR[:, 1::-1], FOUR[:, :2])
    assert score(codes) == 1
    assert score(codes._replace(test_codes=exchanged.codes)) == 0
