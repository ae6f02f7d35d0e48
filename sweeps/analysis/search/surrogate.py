"""A Gaussian process through the results of a search: what one parameter does, whatever the others are.

The search tries good regions more often than others, so a mean over the configurations at one value would mix up
parameters. The model is asked instead, and averaged over the others. It knows finished configurations alone, those that
did well: far from them it would tell of places of whose failures it does not know, so it is not asked there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.spatial.distance import cdist

from sweeps.analysis.search.axes import Axis, axes_of
from sweeps.analysis.search.ranking import SearchResult

FEWEST = 5
"""Configurations that a model can rest on."""
NEAR = 0.12
"""Distance along an axis from a finished configuration at which the model is asked: over a step of 1 in 1 to 10."""
Floats = NDArray[np.float64]

# Priors of the logarithms of signal variance, noise variance and lengths, of values of mean 0 and variance 1 on axes of
# length 1. The signal varies more than the values: what was stopped is not among them.
_SIGNAL, _NOISE, _LENGTH = (math.log(3), 1.0), (math.log(0.1), 1.0), (math.log(0.7), 0.8)
_MEAN_VARIANCE = 4.0
_DRAWS, _ROUNDS, _KEPT = 192, 8, 32
_MOST_OTHERS = 48


class Marginal(NamedTuple):
    """The objective at places on one axis; all arrays (len(places),)."""

    places: Floats
    """Positions on the parameter's axis."""
    mean: Floats
    std: Floats
    """Standard deviation of the mean's posterior: a further seed would scatter more."""


class Kernel(NamedTuple):
    """Covariance of the values: a constant mean, a Matérn 5/2 signal, and independent noise a seed."""

    signal: float
    noise: float
    lengths: Floats
    """Lengths by axis."""

    def __call__(self, one: Floats, other: Floats) -> Floats:
        """Covariances without noise, (len(one), len(other))."""
        distance = math.sqrt(5) * cdist(one / self.lengths, other / self.lengths)
        return _MEAN_VARIANCE + self.signal * (1 + distance + np.square(distance) / 3) * np.exp(-distance)

    def factor(self, points: Floats) -> Floats:
        """Lower Cholesky factor of the covariance of seeds at points."""
        return np.asarray(cholesky(self(points, points) + self.noise * np.eye(len(points)), lower=True))


class Surrogate:
    """A Gaussian process of one objective on the unit cube of the parameters.

    Its kernel is not fitted, which would be too sure of itself after few configurations, but averaged over.
    """

    def __init__(self, axes: Sequence[Axis], points: Floats, values: Floats) -> None:
        """points: positions on the axes, a row a seed, (seeds, parameters). values: the objective, (seeds,)."""
        self.axes = list(axes)
        self.kernels = draw_kernels(points, standardised(values))
        self._points, self._values = points, standardised(values)
        self._shift, self._scale = float(values.mean()), float(values.std()) or 1.0
        self._factors = [kernel.factor(points) for kernel in self.kernels]
        self._configurations = np.unique(points, axis=0)

    @property
    def noise_std(self) -> float:
        """Standard deviation over seeds that the model sees, in the objective's units."""
        return self._scale * math.sqrt(np.mean([kernel.noise for kernel in self.kernels]))

    def average(self, places: Floats, others: Floats, every: int = 1) -> Marginal:
        """Average the model at places over others.

        places: (m, parameters), NaN where the others' value is taken. others: (k, parameters). every: a kernel of so
        many is asked.
        """
        asked = np.where(np.isnan(places)[:, None, :], others[None], places[:, None, :])  # [place, other, parameter]
        means, variances = [], []
        for kernel, factor in zip(self.kernels[::every], self._factors[::every], strict=True):
            weights = kernel(asked.reshape(-1, places.shape[1]), self._points)
            weights = weights.reshape(*asked.shape[:2], -1).mean(axis=1)  # covariance of the averages with the data
            prior = kernel(asked[0], asked[0]).mean()  # the same at all places: only the others differ
            explained = solve_triangular(factor, weights.T, lower=True)
            means.append(weights @ cho_solve((factor, True), self._values))
            variances.append(np.maximum(prior - np.square(explained).sum(axis=0), 0))
        mean = np.mean(means, axis=0)
        std = np.sqrt(np.mean(variances, axis=0) + np.var(means, axis=0))
        return Marginal(places, self._shift + self._scale * mean, self._scale * std)

    def marginal(self, axis: int, places: Floats, at: Floats | None = None) -> Marginal:
        """Along one axis, by its place, averaged over the others of the finished configurations, or as `at` (one row).

        places: positions, (m,).
        """
        asked = np.full((len(places), len(self.axes)), np.nan)
        asked[:, axis] = places
        return self.average(asked, self._others() if at is None else at[None])._replace(places=places)

    def surface(self, first: int, second: int, places: Floats, other_places: Floats) -> Floats:
        """Mean over two axes, (len(other_places), len(places)), averaged over the rest of finished configurations."""
        grid = np.stack(np.meshgrid(places, other_places), axis=-1).reshape(-1, 2)
        asked = np.full((len(grid), len(self.axes)), np.nan)
        asked[:, [first, second]] = grid
        others = self._others() if len(self.axes) > 2 else self._configurations[:1]  # no rest: any will do
        return self.average(asked, others, every=4).mean.reshape(len(other_places), len(places))

    def is_near(self, axis: int, places: Floats) -> NDArray[np.bool_]:
        """Mark places on an axis, (m,), with a finished configuration within NEAR; 0 beside a range is near none."""
        known = self._configurations[None, :, axis]
        near = np.abs(places[:, None] - known) < NEAR
        if self.axes[axis].has_zero:
            near &= (places[:, None] == 0) == (known == 0)
        return np.any(near, axis=1)

    def distance(self, first: int, second: int, places: Floats, other_places: Floats) -> Floats:
        """The distance in two axes to the nearest finished configuration, (len(other_places), len(places))."""
        grid = np.stack(np.meshgrid(places, other_places), axis=-1).reshape(-1, 2)
        nearest = cdist(grid, self._configurations[:, [first, second]]).min(axis=1)
        return nearest.reshape(len(other_places), len(places))

    def _others(self) -> Floats:
        """The finished configurations, or as many of them as are enough, (number, parameters)."""
        return self._configurations[:: -(-len(self._configurations) // _MOST_OTHERS)]


def standardised(values: Floats) -> Floats:
    """Values with mean 0 and variance 1, where they differ at all."""
    return np.asarray((values - values.mean()) / (values.std() or 1.0))


def draw_kernels(points: Floats, values: Floats) -> list[Kernel]:
    """Kernels in proportion to their posterior probability: importance sampling that learns where to draw.

    points: (seeds, parameters). values: standardised, (seeds,).
    """
    generator = np.random.default_rng(0)  # of the estimate's own: the same data give the same estimate
    priors = np.array([_SIGNAL, _NOISE, *[_LENGTH] * points.shape[1]])
    centre, covariance = priors[:, 0], np.diag(np.square(priors[:, 1]))
    for _ in range(_ROUNDS):
        normal = generator.standard_normal((_DRAWS, len(priors)))
        draws = centre + normal @ np.linalg.cholesky(covariance).T
        log_prior = -np.square((draws - priors[:, 0]) / priors[:, 1]).sum(axis=1) / 2
        log_density = -np.square(normal).sum(axis=1) / 2
        fits = np.array([log_likelihood(_kernel(draw), points, values) for draw in draws])
        log_weights = fits + log_prior - log_density
        weights = _tempered(log_weights, _DRAWS / 6)
        centre = weights @ draws
        covariance = 1.5 * np.cov(draws.T, aweights=weights, bias=True) + 1e-6 * np.eye(len(priors))
    cumulated = np.cumsum(_weights(log_weights))
    kept = np.searchsorted(cumulated, (np.arange(_KEPT) + 0.5) / _KEPT)
    return [_kernel(draws[min(place, _DRAWS - 1)]) for place in kept]


def _tempered(log_weights: Floats, fewest: float) -> Floats:
    """Weights made even enough, by a power, for as many draws as `fewest` to have a say."""
    low, high = 0.0, 1.0
    weights = _weights(log_weights)
    for _ in range(30 if 1 / np.square(weights).sum() < fewest else 0):
        power = (low + high) / 2
        weights = _weights(power * log_weights)
        low, high = (low, power) if 1 / np.square(weights).sum() < fewest else (power, high)
    return weights


def _weights(logarithms: Floats) -> Floats:
    """Weights that sum to 1."""
    weights = np.exp(logarithms - logarithms.max())
    return np.asarray(weights / weights.sum())


def log_likelihood(kernel: Kernel, points: Floats, values: Floats) -> float:
    """The log likelihood of values at points under a kernel, up to a constant."""
    factor = kernel.factor(points)
    white = solve_triangular(factor, values, lower=True)
    return float(-np.square(white).sum() / 2 - np.log(np.diag(factor)).sum())


def surrogate(search: SearchResult, objective: int) -> Surrogate | None:
    """The model of one objective, by its place, of all finished seeds; None where configurations are too few."""
    if len(search.finished) < FEWEST:
        return None
    axes = axes_of(search.space)
    seeds = [
        (configuration.fields, values) for configuration in search.finished for values in configuration.seed_values
    ]
    points = np.stack([axis.positions([fields for fields, _ in seeds]) for axis in axes], axis=1)
    return Surrogate(axes, points, np.array([values[objective] for _, values in seeds]))


def _kernel(logarithms: Floats) -> Kernel:
    signal, noise, *lengths = np.exp(logarithms).tolist()
    return Kernel(signal, noise + 1e-6, np.array(lengths))
