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

    @property
    def num_factors(self) -> int:
        return len(self.sizes)

    @property
    def standard_deviations(self) -> NDArray[np.float64]:
        """Standard deviation of each factor's class index when all classes are equally likely, (k,)."""
        sizes = np.array(self.sizes, np.float64)
        return np.asarray(np.sqrt((sizes * sizes - 1) / 12))

    def standardise(self, classes: NDArray[Any]) -> NDArray[np.float32]:
        """Class indices (n, k) to labels (n, k) of mean 0 and variance 1 where all classes are equally likely.

        Indices between classes give labels between theirs.
        """
        centre = (np.array(self.sizes) - 1) / 2
        return np.asarray((classes - centre) / self.standard_deviations, np.float32)

    def to_unit_interval(self, labels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Standardised labels (n, k) to units in which each factor's classes span [0, 1]."""
        return np.asarray(0.5 + labels * (self.standard_deviations / (np.array(self.sizes) - 1)))

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
