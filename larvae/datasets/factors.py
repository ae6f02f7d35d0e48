"""Ground-truth factors: class indices, what they stand for, and what they are turned into."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from larvae.errors import require_known

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Factors:
    """Discrete factors of variation, k of them; which combinations of them occur is left open."""

    names: tuple[str, ...]
    """One name a factor."""
    sizes: tuple[int, ...]
    """Number of classes of each factor, all >= 2."""
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Values that classes stand for, by the factor's name, in words or numbers; left out where they are the index."""
    periods: Mapping[str, int] = field(default_factory=dict)
    """Number of different classes of each factor that goes round: after so many, images repeat."""

    scaling: str = "standardised"
    """Labels of class indices: standardised, index, or unit, as `larvae.config.LABEL_SCALINGS` has them."""

    @property
    def num_factors(self) -> int:
        return len(self.sizes)

    @property
    def standard_deviations(self) -> NDArray[np.float64]:
        """Standard deviation of each factor's class index when all classes are equally likely, (k,)."""
        sizes = np.array(self.sizes, np.float64)
        return np.asarray(np.sqrt((sizes * sizes - 1) / 12))

    def to_labels(self, classes: NDArray[Any]) -> NDArray[np.float32]:
        """Class indices (n, k) to labels (n, k); indices between classes give labels between theirs.

        Standardised ones have mean 0 and variance 1 where all classes are equally likely.
        """
        centre, unit = self._centre_and_unit
        return np.asarray((classes - centre) / unit, np.float32)

    def to_unit_interval(self, labels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Labels (n, k) to units in which each factor's classes span [0, 1]."""
        centre, unit = self._centre_and_unit
        last = np.array(self.sizes) - 1
        return np.asarray(centre / last + labels * (unit / last))

    def in_unit(self, classes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Class indices (n, k) to labels (n, k) in [0, 1]."""
        return np.asarray(classes / (np.array(self.sizes) - 1), np.float32)

    @property
    def _centre_and_unit(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The class index whose label is 0, and the number of classes to a label of 1 more, of each factor."""
        last = np.array(self.sizes, np.float64) - 1
        if self.scaling == "standardised":
            return last / 2, self.standard_deviations
        return np.zeros_like(last), last if self.scaling == "unit" else np.ones_like(last)

    def columns(self, names: Iterable[str]) -> list[int]:
        """Positions of some factors, in the order of this data set. InvalidInputError where one is unknown."""
        chosen = list(names)
        for name in chosen:
            require_known("factor", name, self.names)
        return sorted({self.names.index(name) for name in chosen})

    def select(self, names: Iterable[str]) -> Factors:
        """Some of the factors, in the order of this data set. InvalidInputError where one is unknown."""
        columns = self.columns(names)
        return Factors(
            tuple(self.names[c] for c in columns), tuple(self.sizes[c] for c in columns), self.values, self.periods
        )

    def varied(self, classes: NDArray[np.integer], name: str, values: NDArray[Number]) -> NDArray[Number]:
        """One image's class indices (k,), again for each of some values of one factor, (len(values), k)."""
        varied = np.repeat(classes[None], len(values), axis=0).astype(values.dtype)
        varied[:, self.columns([name])[0]] = values
        return varied

    def value_name(self, name: str, class_index: int) -> str:
        """The value that a class of a factor stands for."""
        return str(self.values[name][class_index]) if name in self.values else str(class_index)


@dataclass(frozen=True, slots=True)
class FactorGrid(Factors):
    """Factors of which all combinations occur, once each; the last factor varies fastest."""

    @property
    def num_images(self) -> int:
        return math.prod(self.sizes)

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Image indices (n,) to class indices (n, k)."""
        return np.stack(np.unravel_index(indices, self.sizes), axis=1).astype(np.int64)

    def indices(self, classes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Class indices (n, k) to image indices (n,); ValueError outside the grid."""
        return np.asarray(np.ravel_multi_index(tuple(classes.T), self.sizes), np.int64)
