"""Codes made from the factors themselves, of which it is known what each metric must say."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from larvae.datasets.dsprites import GRID
from larvae.datasets.factors import FactorGrid

Codes = NDArray[np.float64]
Classes = NDArray[np.int64]


class Pools(NamedTuple):
    """The arguments that metrics share, in their order."""

    codes: Codes
    classes: Classes
    test_codes: Codes
    test_classes: Classes

    def recoded(self, change: Callable[[Codes], Codes]) -> Pools:
        """The same images with changed codes; both pools are changed in one go, so that noise is another in each."""
        changed = change(np.concatenate([self.codes, self.test_codes]))
        return self._replace(codes=changed[: len(self.codes)], test_codes=changed[len(self.codes) :])


def combinations(*sizes: int) -> Classes:
    """All combinations of factors of the given sizes, once each, (n, k)."""
    grid = FactorGrid(names=tuple(f"factor_{k}" for k in range(len(sizes))), sizes=sizes)
    return grid.classes(np.arange(grid.num_images))


def repeated(codes: NDArray[np.generic], classes: Classes, times: int = 100) -> Pools:
    """Two equal pools in which each of a few images occurs many times: frequencies are exact."""
    tall = np.repeat(np.asarray(codes, np.float64), times, axis=0)
    tall_classes = np.repeat(classes, times, axis=0)
    return Pools(tall, tall_classes, tall.copy(), tall_classes.copy())


def dsprites_pools(num_train: int = 10_000, num_test: int = 5_000) -> Pools:
    """Random images of dSprites, encoded perfectly."""
    indices = np.random.default_rng(0).choice(GRID.num_images, num_train + num_test, replace=False)
    classes = GRID.classes(indices)
    codes = GRID.to_labels(classes).astype(np.float64)
    return Pools(codes[:num_train], classes[:num_train], codes[num_train:], classes[num_train:])


def constant(codes: Codes) -> Codes:
    """All images at one point."""
    return np.full_like(codes, 0.3)


def duplicated(codes: Codes) -> Codes:
    """Every dimension twice."""
    return np.concatenate([codes, codes], axis=1)


def permuted(codes: Codes) -> Codes:
    """The dimensions in another order, none in its old place."""
    return np.roll(codes, 1, axis=1)


def rotated(codes: Codes) -> Codes:
    """The first two dimensions turned by 45° (and stretched: whole numbers stay whole)."""
    return np.column_stack([codes[:, 0] + codes[:, 1], codes[:, 0] - codes[:, 1], codes[:, 2:]])


def noise(codes: Codes) -> Codes:
    """As many dimensions that know nothing."""
    return np.random.default_rng(1).standard_normal(codes.shape)
