"""The grid of ground-truth factors: class indices and what they are turned into."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FactorGrid:
    """All combinations of discrete factors; the last factor varies fastest."""

    names: tuple[str, ...]
    """One name a factor."""
    sizes: tuple[int, ...]
    """Number of classes of each factor, all >= 2."""

    @property
    def num_factors(self) -> int:
        return len(self.sizes)

    @property
    def num_images(self) -> int:
        return math.prod(self.sizes)

    @property
    def standard_deviations(self) -> NDArray[np.float64]:
        """Standard deviation of each factor's class index over the grid, (k,)."""
        sizes = np.array(self.sizes, np.float64)
        return np.asarray(np.sqrt((sizes * sizes - 1) / 12))

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Image indices (n,) to class indices (n, k)."""
        return np.stack(np.unravel_index(indices, self.sizes), axis=1).astype(np.int64)

    def indices(self, classes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Class indices (n, k) to image indices (n,); ValueError outside the grid."""
        return np.asarray(np.ravel_multi_index(tuple(classes.T), self.sizes), np.int64)

    def standardise(self, classes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Class indices (n, k) to labels (n, k) of mean 0 and variance 1 over the grid."""
        centre = (np.array(self.sizes) - 1) / 2
        return np.asarray((classes - centre) / self.standard_deviations, np.float32)

    def to_unit_interval(self, labels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Standardised labels (n, k) to units in which each factor's classes span [0, 1]."""
        return np.asarray(0.5 + labels * (self.standard_deviations / (np.array(self.sizes) - 1)))
