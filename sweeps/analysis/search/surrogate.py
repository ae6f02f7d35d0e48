"""A Gaussian process through the results of a search: what one parameter does, whatever the others are.

The search tries good regions more often than others, so a mean over the configurations at one value would mix up
parameters. The model is asked instead, and averaged over the others. It knows finished configurations alone, those that
did well: far from them it would tell of places of whose failures it does not know, so it is not asked there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sweeps.analysis.search.axes import Axis, axes_of
from sweeps.analysis.search.ranking import SearchResult

FEWEST = 5
"""Configurations that a model can rest on."""
NEAR = 0.12
"""Distance along an axis from a finished configuration at which the model is asked: over a step of 1 in 1 to 10."""
Floats = NDArray[np.float64]

# Priors, median and logarithm's standard deviation, of signal variance, lengths and noise variance, of values of mean 0
# and variance 1 on axes of length 1. The signal varies more than the values: what was stopped is not among them.
_SIGNAL, _LENGTH, _NOISE = (3.0, 1.0), (0.7, 0.8), (0.1, 1.0)
_MEAN_VARIANCE = 4.0
_KERNELS, _MOST_OTHERS = 32, 48
_BEYOND = 2.0  # farther than any two positions on two axes


class Marginal(NamedTuple):
    """The objective at places on one axis; all arrays (len(places),)."""

    places: Floats
    """Positions on the parameter's axis."""
    mean: Floats
    std: Floats
    """Standard deviation of the mean's posterior: a further seed would scatter more."""


class Surrogate:
    """A Gaussian process of one objective on the unit cube of the parameters, with independent noise a seed.

    Its kernel is not fitted, which would be too sure of itself after few configurations, but averaged over.
    """

    def __init__(self, axes: Sequence[Axis], points: Floats, values: Floats) -> None:
        """points: positions on the axes, a row a seed, (seeds, parameters). values: the objective, (seeds,)."""
        self.axes = list(axes)
        self._shift, self._scale = float(values.mean()), float(values.std()) or 1.0
        self._processes = draw_processes(points, (values - self._shift) / self._scale)
        self._configurations = np.unique(points, axis=0)
        self._others = self._configurations[:: -(-len(self._configurations) // _MOST_OTHERS)]  # as many as are enough

    def average(self, axes: list[int], places: Floats, others: Floats, every: int = 1) -> tuple[Floats, Floats]:
        """Average over others that are moved to places on some axes: mean and its standard deviation, (m,).

        places: (m, len(axes)). others: (k, parameters). every: a kernel of so many is asked.
        """
        asked = np.repeat(others[None], len(places), axis=0)  # [place, other, parameter]
        asked[..., axes] = places[:, None]
        means, variances = [], []
        for process in self._processes[::every]:  # its `predict` would hold the covariance of all that is asked
            weights = process.kernel_(asked.reshape(-1, others.shape[1]), process.X_train_)
            weights = weights.reshape(*asked.shape[:2], -1).mean(axis=1)  # covariance of the averages with the data
            prior = process.kernel_(asked[0], asked[0]).mean()  # the same at all places: only the others differ
            explained = solve_triangular(process.L_, weights.T, lower=True)
            means.append(weights @ process.alpha_)
            variances.append(np.maximum(prior - np.square(explained).sum(axis=0), 0))
        std = np.sqrt(np.mean(variances, axis=0) + np.var(means, axis=0))
        return self._shift + self._scale * np.mean(means, axis=0), self._scale * std

    def marginal(self, axis: int, places: Floats, at: Floats | None = None) -> Marginal:
        """Along one axis, by its place, averaged over the others of the finished configurations, or as `at` (one row).

        places: positions, (m,).
        """
        return Marginal(places, *self.average([axis], places[:, None], self._others if at is None else at[None]))

    def surface(self, first: int, second: int, places: Floats, other_places: Floats) -> Floats:
        """Mean over two axes, (len(other_places), len(places)), averaged over the rest of finished configurations."""
        grid = np.stack(np.meshgrid(places, other_places), axis=-1)
        others = self._others if len(self.axes) > 2 else self._others[:1]  # no rest: any will do
        return self.average([first, second], grid.reshape(-1, 2), others, every=4)[0].reshape(grid.shape[:2])

    def is_near(self, axis: int, places: Floats) -> NDArray[np.bool_]:
        """Mark places on an axis, (m,), with a finished configuration within NEAR; 0 beside a range is near none."""
        known = self._configurations[None, :, axis]
        near = np.abs(places[:, None] - known) < NEAR
        if self.axes[axis].has_zero:
            near &= (places[:, None] == 0) == (known == 0)
        return np.any(near, axis=1)

    def distance(self, first: int, second: int, places: Floats, other_places: Floats) -> Floats:
        """The distance in two axes to the nearest finished configuration, (len(other_places), len(places)).

        0 beside a range is far from all that is in it.
        """
        grid = np.stack(np.meshgrid(places, other_places), axis=-1)
        asked, known = grid.reshape(-1, 2), self._configurations[:, [first, second]]
        distance = cdist(asked, known)
        for column, axis in enumerate((first, second)):
            if self.axes[axis].has_zero:
                distance[(asked[:, column, None] == 0) != (known[:, column] == 0)] = _BEYOND
        return distance.min(axis=1).reshape(grid.shape[:2])


def draw_processes(points: Floats, values: Floats) -> list[GaussianProcessRegressor]:
    """Processes with kernels drawn from their posterior, by Laplace's approximation around the likeliest.

    points: (seeds, parameters). values: of mean 0 and variance 1, (seeds,).
    """
    priors = np.array([_SIGNAL, *[_LENGTH] * points.shape[1], _NOISE])  # in the order of a kernel's theta
    means, stds = np.log(priors[:, 0]), priors[:, 1]
    signal = ConstantKernel() * Matern(np.ones(points.shape[1]), nu=2.5)
    kernel = ConstantKernel(_MEAN_VARIANCE, "fixed") + signal + WhiteKernel()
    process = GaussianProcessRegressor(kernel, alpha=1e-6, optimizer=None).fit(points, values)

    def loss(theta: Floats) -> tuple[float, Floats]:
        """Minus the logarithm of the posterior density, up to a constant, and its gradient."""
        fit, gradient = process.log_marginal_likelihood(theta, eval_gradient=True, clone_kernel=False)
        normal = (theta - means) / stds
        return normal @ normal / 2 - fit, normal / stds - gradient

    likeliest = minimize(loss, means, jac=True, method="BFGS")
    generator = np.random.default_rng(0)  # of the estimate's own: the same data give the same estimate
    thetas = generator.multivariate_normal(likeliest.x, np.asarray(likeliest.hess_inv), _KERNELS)
    kernels = [kernel.clone_with_theta(theta) for theta in thetas]
    return [GaussianProcessRegressor(one, alpha=1e-6, optimizer=None).fit(points, values) for one in kernels]


def surrogate(search: SearchResult, objective: int) -> Surrogate | None:
    """The model of one objective, by its place, of all finished seeds; None where configurations are too few."""
    if len(search.finished) < FEWEST:
        return None
    axes = axes_of(search.space)
    finished = [(found.fields, values[objective]) for found in search.finished for values in found.seed_values]
    points = np.stack([axis.positions([fields for fields, _ in finished]) for axis in axes], axis=1)
    return Surrogate(axes, points, np.array([value for _, value in finished]))
