"""Images that share a factor's value: all alike, distinct and equally likely."""

from __future__ import annotations

import numpy as np
import pytest

from larvae.metrics.pool import Pool
from tests.larvae.representations import Classes

IMAGES, FACTORS = np.arange(300)[:, None], np.arange(3)


@pytest.fixture
def classes() -> Classes:
    """300 images of three factors; one image is the only one of its value."""
    columns = [np.random.default_rng(0).integers(size, size=300) for size in (2, 5, 20)]
    columns[1][17] = 9
    return np.stack(columns, axis=1)


def test_followers_share_the_value(classes: Classes) -> None:
    pool = Pool.shuffled(classes, np.random.default_rng(1))
    for step in (0, 1, 40, 1000):
        assert np.array_equal(classes[pool.followers(IMAGES, FACTORS, np.int64(step)), FACTORS], classes)
    assert np.array_equal(pool.followers(IMAGES, FACTORS, np.int64(0)), np.broadcast_to(IMAGES, (300, 3)))


def test_once_round_a_circle_each_image_of_the_value_comes_once(classes: Classes) -> None:
    pool = Pool.shuffled(classes, np.random.default_rng(1))
    for factor in FACTORS:
        alike = np.flatnonzero(classes[:, factor] == classes[5, factor])
        circle = pool.followers(np.array(5), factor, np.arange(2 * len(alike)))
        assert np.array_equal(np.sort(circle[: len(alike)]), alike)
        assert np.array_equal(circle[: len(alike)], circle[len(alike) :])


def test_circles_are_in_random_order(classes: Classes) -> None:
    """Over many shuffles, any other image of its value follows an image equally often."""
    rng = np.random.default_rng(2)
    alike = np.flatnonzero(classes[:, 2] == classes[5, 2])
    draws = [int(Pool.shuffled(classes, rng).followers(np.array(5), np.array(2), np.int64(1))) for _ in range(2000)]
    counts = np.bincount(draws, minlength=300)
    assert set(np.flatnonzero(counts)) == set(alike) - {5}
    expected = 2000 / (len(alike) - 1)
    assert np.abs(counts[counts > 0] - expected).max() < 5 * np.sqrt(expected)


def test_image_that_is_alone_is_its_own_partner(classes: Classes) -> None:
    pool = Pool.shuffled(classes, np.random.default_rng(1))
    assert np.all(pool.others(np.full(50, 17), np.array(1), np.random.default_rng(3)) == 17)
