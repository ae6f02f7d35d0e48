"""The axes of a search, and the model on them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from sweeps.adaptive.space import parse_space
from sweeps.analysis.search.axes import Axis, axes_of
from sweeps.analysis.search.ranking import summarise
from sweeps.analysis.search.surrogate import (
    FEWEST,
    Kernel,
    Surrogate,
    draw_kernels,
    log_likelihood,
    standardised,
    surrogate,
)
from tests.analysis.invented_search import InventedSearch, describe, realistic, record, run_of

PARTS = (
    "tau=0.1:10:log:zero",
    "gamma_tc=0:12",
    "alpha=1:1000:log",
    "z_dim=1:10",
    "learning_rate=1e-5:1e-2:log",
    "label_rate=0.005,0.02,0.01",
)
AXES = {axis.name: axis for axis in axes_of(parse_space(PARTS))}
VALUES = {
    "tau": [0, 0.1, 0.11, 1, 10],
    "gamma_tc": [0, 0.1, 6, 12],
    "alpha": [1, 2, 999, 1000],
    "z_dim": [1, 2, 10],
    "learning_rate": [1e-5, 2e-5, 1e-2],
    "label_rate": [0.005, 0.01, 0.02],
}


@pytest.mark.parametrize("name", VALUES)
def test_positions_ascend_from_one_end_to_the_other(name: str) -> None:
    positions = [AXES[name].position(value) for value in VALUES[name]]
    assert np.all(np.diff(positions) > 0)
    assert (positions[0], positions[-1]) == (0, pytest.approx(1))


def test_equal_ratios_are_equally_far_on_a_logarithmic_axis() -> None:
    positions = [AXES["tau"].position(value) for value in (0.1, 1, 10)]
    assert positions[1] - positions[0] == pytest.approx(positions[2] - positions[1])


@pytest.mark.parametrize("name", ["tau", "gamma_tc", "alpha", "learning_rate"])
def test_a_value_lies_where_the_sampler_has_it(name: str) -> None:
    space = parse_space(PARTS)
    sampled = space.distributions()[name]
    for share in np.linspace(0.15, 1, 9):
        low, high = sampled.low, sampled.high
        raw = low * (high / low) ** share if sampled.log else low + (high - low) * share
        value = space.fields(
            {n: d.low if hasattr(d, "low") else 0.01 for n, d in space.distributions().items()} | {name: raw}
        )
        assert AXES[name].position(value[name]) == pytest.approx(share, abs=1e-3)  # values have four digits


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("upright", [False, True])
def test_ticks_leave_room_for_their_texts(name: str, upright: bool) -> None:
    numbers = []
    for room in (4.0, 2.0, 1.0):
        ticks = AXES[name].ticks(room, upright)
        numbers.append(len(ticks))
        assert list(ticks) == sorted(ticks)
        for (before, text), (after, other) in pairwise(ticks.items()):
            needed = 0.11 if upright else 0.06 * (len(text) + len(other)) / 2
            assert (after - before) * room > needed or name == "label_rate"  # a choice's values are all written
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] >= 2


def test_zero_is_always_written() -> None:
    for room in (4.0, 1.0, 0.5):
        assert AXES["tau"].ticks(room)[0.0] == "0"


@pytest.mark.parametrize("name", VALUES)
def test_shares_become_positions_that_a_configuration_can_have(name: str) -> None:
    positions = AXES[name].spread(np.linspace(0, 1, 1000, endpoint=False))
    assert positions.min() == 0
    assert positions.max() <= 1
    if name == "label_rate":
        assert list(np.unique(positions)) == [0, 0.5, 1]
    if name == "tau":
        assert np.mean(positions == 0) == pytest.approx(0.1)
        assert positions[positions > 0].min() >= AXES[name].position(0.1)


def additive(num_seeds: int, rng: np.random.Generator) -> tuple[list[Axis], np.ndarray, np.ndarray]:
    """A parameter with an effect, one with another effect and a bad sample, and noise."""
    axes = axes_of(parse_space(["tau=0.1:10:log", "gamma_tc=1:20:log"]))
    points = rng.uniform(0, 1, (num_seeds, 2))
    points[:, 1] **= 3  # as a search does: some values far more often than others
    return axes, points, wave(points[:, 0]) + points[:, 1] + rng.normal(0, 0.02, num_seeds)


def wave(places: np.ndarray) -> np.ndarray:
    return np.asarray(0.3 * np.sin(3 * places))


def test_the_model_varies_one_parameter_and_not_those_that_go_with_it_in_the_sample() -> None:
    rng = np.random.default_rng(0)
    axes, points, _ = additive(40, rng)
    points[:, 1] = np.clip(points[:, 0] + rng.normal(0, 0.15, 40), 0, 1)  # the search varied both together
    model = Surrogate(axes, points, wave(points[:, 0]) + points[:, 1] + rng.normal(0, 0.02, 40))
    places = np.linspace(0.2, 0.8, 7)
    expected = wave(places) + points[:, 1].mean()
    np.testing.assert_allclose(model.marginal(0, places).mean, expected, atol=0.08)
    np.testing.assert_array_less(0.15, np.abs(wave(places) + places - expected)[[0, -1]])  # what a mean would say
    assert model.noise_std == pytest.approx(0.02, rel=0.5)


@pytest.mark.parametrize(("num_seeds", "noise"), [(8, 0.02), (25, 0.02), (25, 0.2)])
def test_the_interval_is_right_about_as_often_as_it_says(num_seeds: int, noise: float) -> None:
    places = np.linspace(0.1, 0.9, 5)
    inside = []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        axes, points, _ = additive(num_seeds, rng)
        values = wave(points[:, 0]) + points[:, 1] + rng.normal(0, noise, num_seeds)
        found = Surrogate(axes, points, values).marginal(0, places)
        inside += list(np.abs(found.mean - wave(places) - points[:, 1].mean()) <= 1.96 * found.std)
    assert 0.85 <= np.mean(inside) <= 1


def test_the_interval_is_wider_where_there_are_no_data() -> None:
    axes, points, values = additive(40, np.random.default_rng(1))
    few = points[:, 0] < 0.5
    model = Surrogate(axes, points[few], values[few])
    spread = model.marginal(0, np.array([0.25, 1.0])).std
    assert spread[1] > 3 * spread[0]
    assert list(model.is_near(0, np.array([0.25, 1.0]))) == [True, False]
    distance = model.distance(0, 1, np.array([*points[few][0, :1], 1.0]), points[few][0, 1:])
    assert distance[0, 0] == pytest.approx(0)
    assert distance[0, 1] > 0.4


def test_zero_is_known_only_from_configurations_that_have_it() -> None:
    axes = axes_of(parse_space(["tau=0.1:10:log:zero", "gamma_tc=1:20:log"]))
    points = np.random.default_rng(0).uniform(0.1, 1, (10, 2))
    points[0, 0] = 0.1
    places = np.array([0.0, 0.1])
    values = points[:, 0]
    assert list(Surrogate(axes, points, values).is_near(0, places)) == [False, True]
    points[:, 0] = 0
    assert list(Surrogate(axes, points, values).is_near(0, places)) == [True, False]


def test_with_one_kernel_the_average_is_that_of_joint_predictions() -> None:
    axes, points, values = additive(20, np.random.default_rng(2))
    model = Surrogate(axes, points, values)
    one = model.kernels[0]
    model.kernels, model._factors = [one], [one.factor(points)]
    process = GaussianProcessRegressor(
        ConstantKernel(4.0, "fixed") + ConstantKernel(one.signal, "fixed") * Matern(one.lengths, "fixed", nu=2.5),
        alpha=one.noise,
        normalize_y=True,
    ).fit(points, values)
    others = np.random.default_rng(3).uniform(0, 1, (9, 2))
    found = model.average(np.array([[0.3, np.nan]]), others)
    others[:, 0] = 0.3
    mean, covariance = process.predict(others, return_cov=True)
    assert found.mean[0] == pytest.approx(mean.mean())
    assert found.std[0] ** 2 == pytest.approx(covariance.mean(), rel=1e-5)


def test_kernels_gather_around_the_truth() -> None:
    rng = np.random.default_rng(6)
    truth = Kernel(2.0, 0.05, np.array([0.3, 2.0]))
    points = rng.uniform(0, 1, (120, 2))
    values = standardised(truth.factor(points) @ rng.standard_normal(120))
    kernels = draw_kernels(points, values)
    likelihoods = [log_likelihood(kernel, points, values) for kernel in kernels]
    assert len({kernel.signal for kernel in kernels}) > 10
    assert np.ptp(likelihoods) < 12
    assert all(kernel.lengths[0] < kernel.lengths[1] for kernel in kernels)


def test_more_parameters_and_seeds_find_good_kernels_too() -> None:
    rng = np.random.default_rng(7)
    points = rng.uniform(0, 1, (150, 6))
    values = standardised(np.sin(5 * points[:, 0]) + points[:, 1] + rng.normal(0, 0.1, 150))
    kernels = draw_kernels(points, values)
    assert len({kernel.signal for kernel in kernels}) > 5
    lengths = np.median([kernel.lengths for kernel in kernels], axis=0)
    assert lengths.argmin() == 0
    assert lengths[2:].min() > lengths[0]


def test_the_same_data_give_the_same_model() -> None:
    first, second = (Surrogate(*additive(20, np.random.default_rng(8))) for _ in range(2))
    places = np.linspace(0, 1, 5)
    np.testing.assert_array_equal(first.marginal(0, places).mean, second.marginal(0, places).mean)


def test_units_change_nothing() -> None:
    axes, points, values = additive(20, np.random.default_rng(9))
    places = np.linspace(0, 1, 5)
    one, other = Surrogate(axes, points, values), Surrogate(axes, points, 100 * values + 7)
    np.testing.assert_allclose(100 * one.marginal(0, places).mean + 7, other.marginal(0, places).mean)
    np.testing.assert_allclose(100 * one.marginal(0, places).std, other.marginal(0, places).std)


def test_a_surface_averages_to_its_marginal() -> None:
    axes, points, values = additive(30, np.random.default_rng(4))
    model = Surrogate(axes, points, values)
    places = np.array([0.2, 0.8])
    surface = model.surface(0, 1, places, np.unique(points[:, 1]))
    assert surface.shape == (30, 2)
    np.testing.assert_allclose(surface.mean(axis=0), model.marginal(0, places).mean, atol=0.01)


def test_with_the_others_given_the_model_is_asked_there() -> None:
    model = Surrogate(*additive(30, np.random.default_rng(5)))
    given = model.marginal(0, np.array([0.4]), at=np.array([0.9, 0.7]))
    point = model.average(np.array([[0.4, 0.7]]), np.zeros((1, 2)))
    assert given.mean[0] == pytest.approx(point.mean[0])
    assert given.mean[0] == pytest.approx(wave(np.array([0.4]))[0] + 0.7, abs=0.05)


def test_the_model_rests_on_finished_configurations_alone() -> None:
    invented = realistic(configurations=20)
    known = record(invented)
    finished = known.members["status"] == "FINISHED"
    absurd = known.evaluations.assign(
        held_out_mig=known.evaluations["held_out_mig"].where(
            known.evaluations["hash"].isin(known.members.loc[finished, "hash"]), 0.9
        )
    )
    models = [surrogate(summarise(one), 0) for one in (known, known._replace(evaluations=absurd))]
    assert models[0] is not None
    assert models[1] is not None
    places = np.linspace(0, 1, 5)
    np.testing.assert_array_equal(models[0].marginal(0, places).mean, models[1].marginal(0, places).mean)


def test_of_few_configurations_there_is_no_model() -> None:
    points = [{"tau": 0.2 * (1 + n), "z_dim": 5, "gamma_tc": 4.0} for n in range(FEWEST)]
    runs = [run_of(n, point, seed, (0.1 + n / 50, 0.5)) for n, point in enumerate(points) for seed in (0, 1)]
    assert surrogate(summarise(record(InventedSearch(describe(), runs[:-2]))), 0) is None
    assert surrogate(summarise(record(InventedSearch(describe(), runs))), 0) is not None
