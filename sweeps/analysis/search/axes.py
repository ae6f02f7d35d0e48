"""A searched parameter as an axis of unit length: where its values lie, and which are written beside it.

All pictures of a search, and the model behind them, use the axes on which the sampler searched: logarithmic ranges are
equally long for equal ratios, and a zero beside such a range has a place of its own left of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution

from sweeps.adaptive.space import INTEGERS, Choice, Range, Space
from sweeps.analysis.parameters import symbol

_MOST_TICKS = 10
_TEXT_WIDTH, _TEXT_HEIGHT, _GAP = 0.065, 0.11, 0.045  # inches: of a figure, of a line, between ticks' texts


class Axis(NamedTuple):
    """A searched parameter on [0, 1]."""

    name: str
    values: Range | Choice
    zero_share: float
    """Share of the axis for a zero, at its left: 0 alone lies there, at the end; the range has the rest."""

    @property
    def symbol(self) -> str:
        return symbol(self.name)

    @property
    def label(self) -> str:
        """The symbol as Matplotlib writes it."""
        return self.symbol.replace("γ_tc", r"$\gamma_{\mathrm{tc}}$")

    @property
    def has_zero(self) -> bool:
        """True if 0 is a choice beside a range; it lies at 0."""
        return self.zero_share > 0

    def position(self, value: float) -> float:
        """The position of a value of MemberConfig, in [0, 1]."""
        if isinstance(self.values, Choice):
            ordered = sorted(self.values.values)
            return ordered.index(value) / (len(ordered) - 1)
        if self.has_zero and value == 0:
            return 0.0
        low, high = self.values.low, self.values.high
        share = math.log(value / low) / math.log(high / low) if self.values.log else (value - low) / (high - low)
        return self.zero_share + (1 - self.zero_share) * share

    def positions(self, points: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """The positions of configurations, by their searched fields, (len(points),)."""
        return np.array([self.position(point[self.name]) for point in points])

    def spread(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shares of [0, 1) as positions that a configuration can have: on a zero's place 0, on a choice its values."""
        if isinstance(self.values, Choice):
            num_values = len(self.values.values)
            return np.floor(shares * num_values) / (num_values - 1)
        return np.where(shares < self.zero_share, 0.0, shares)

    def grid(self, size: int) -> NDArray[np.float64]:
        """Positions along the range, or of each choice, ascending; without the zero, (size or fewer,)."""
        if isinstance(self.values, Choice):
            return np.linspace(0, 1, len(self.values.values))
        return np.linspace(self.zero_share, 1, size)

    def ticks(self, room: float, upright: bool = False) -> dict[float, str]:
        """Positions of the values that are written, as text: as many as fit into `room`, inches of the axis."""
        ticks: dict[float, str] = {}
        for values in self._choices_of_ticks():
            ticks = {self.position(value): f"{value:g}" for value in values}
            if _fit(ticks, room, upright):
                break
        if not self.has_zero:
            return ticks
        first, *rest = ticks
        with_zero = {0.0: "0", **ticks}
        return (
            with_zero
            if _fit({0.0: "0", first: ticks[first]}, room, upright)
            else {0.0: "0"} | {p: ticks[p] for p in rest}
        )

    @property
    def minor_ticks(self) -> list[float]:
        """Positions of 1, 2, …, 9 times powers of ten."""
        if not isinstance(self.values, Range) or not self.values.log:
            return []
        low, high = self.values.low, self.values.high
        return [self.position(value) for value in _multiples(low, high, range(1, 10))]

    def _choices_of_ticks(self) -> Iterator[list[float]]:
        """Values of the range that could be written, many first."""
        if isinstance(self.values, Choice):
            yield sorted(self.values.values)
            return
        low, high = self.values.low, self.values.high
        if self.values.log:
            choices = (_multiples(low, high, multiples) for multiples in ((1, 2, 5), (1, 3), (1,)))
            yield from (values for values in choices if len(values) > 1)
        else:
            whole = self.name in INTEGERS
            if whole and high - low <= _MOST_TICKS:
                yield [float(value) for value in range(int(low), int(high) + 1)]
            for most in (6, 4, 3):
                values = MaxNLocator(most, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
                yield [float(value) for value in values if low <= value <= high]
        yield [low, high]


def axes_of(space: Space) -> list[Axis]:
    """An axis for each parameter that is searched, in the space's order."""
    return [Axis(name, values, _zero_share(space, name)) for name, values in space.parameters.items()]


def _zero_share(space: Space, name: str) -> float:
    """Share of a logarithmic axis that means 0: what the sampler's range has below `low`."""
    values, sampled = space.parameters[name], space.distributions()[name]
    if isinstance(values, Choice) or not values.zero or not isinstance(sampled, FloatDistribution):
        return 0.0
    return math.log(values.low / sampled.low) / math.log(sampled.high / sampled.low)


def _multiples(low: float, high: float, multiples: Sequence[int]) -> list[float]:
    """Those multiples of powers of ten that lie in [low, high]."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [float(f"{multiple}e{power}") for power in powers for multiple in multiples]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _fit(ticks: Mapping[float, str], room: float, upright: bool) -> bool:
    """Tell whether texts have room beside each other on an axis of `room` inches."""
    sizes = [_TEXT_HEIGHT if upright else _TEXT_WIDTH * len(text) for text in ticks.values()]
    gaps = [room * (after - before) for before, after in pairwise(ticks)]
    return all(gap >= (one + other) / 2 + _GAP for gap, one, other in zip(gaps, sizes, sizes[1:], strict=False))
