"""The model of a search: what it says of one parameter, how sure it is, and what it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sweeps.adaptive.space import parse_space
from sweeps.analysis.search.axes import Axis, axes_of
from sweeps.analysis.search.ranking import summarise
from sweeps.analysis.search.surrogate import FEWEST, Surrogate, draw_processes, surrogate
from tests.analysis.search.invented_search import InventedSearch, describe, realistic, record, run_of

PLACES = np.linspace(0, 1, 5)


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


def test_the_interval_is_right_about_as_often_as_it_says() -> None:
    places = np.linspace(0.1, 0.9, 5)
    inside = []
    for seed in range(8):
        axes, points, values = additive(8, np.random.default_rng(seed))
        found = Surrogate(axes, points, values).marginal(0, places)
        inside += list(np.abs(found.mean - wave(places) - points[:, 1].mean()) <= 1.96 * found.std)
    assert 0.85 <= np.mean(inside) <= 1


def test_the_interval_is_wider_where_there_are_no_data_and_zero_is_known_from_zeros_alone() -> None:
    axes, points, values = additive(40, np.random.default_rng(1))
    few = points[:, 0] < 0.5
    model = Surrogate(axes, points[few], values[few])
    spread = model.marginal(0, np.array([0.25, 1.0])).std
    assert spread[1] > 3 * spread[0]
    assert list(model.is_near(0, np.array([0.25, 1.0]))) == [True, False]
    distance = model.distance(0, 1, np.array([*points[few][0, :1], 1.0]), points[few][0, 1:])
    assert distance[0, 0] == pytest.approx(0)
    assert distance[0, 1] > 0.4
    axes = axes_of(parse_space(["tau=0.1:10:log:zero", "gamma_tc=1:20:log"]))
    points = np.random.default_rng(0).uniform(0.1, 1, (10, 2))
    for known, expected in ((np.array([0.1, *points[1:, 0]]), [False, True]), (np.zeros(10), [True, False])):
        model = Surrogate(axes, np.stack([known, points[:, 1]], axis=1), points[:, 0])
        assert list(model.is_near(0, np.array([0.0, 0.1]))) == expected
        distance = model.distance(0, 1, np.array([0.0, 0.1]), points[:1, 1])
        assert list(distance[0] < 1) == expected


def test_the_interval_is_of_the_mean_and_shrinks_with_seeds_that_scatter() -> None:
    rng = np.random.default_rng(5)
    axes = axes_of(parse_space(["tau=0.1:10:log"]))
    spreads = []
    for num_seeds in (4, 16):
        points = np.repeat(np.linspace(0, 1, FEWEST)[:, None], num_seeds, axis=0)
        values = wave(points[:, 0]) + rng.normal(0, 0.1, len(points))
        spreads.append(Surrogate(axes, points, values).marginal(0, np.array([0.25, 0.5])).std)
    ratios = np.array(spreads) * np.sqrt([[4], [16]]) / 0.1  # 1: of the seeds at that place alone
    assert 0.4 < ratios.min() < ratios.max() < 1.2


def test_the_average_is_that_of_joint_predictions_without_noise() -> None:
    axes, points, values = additive(20, np.random.default_rng(2))
    others = np.random.default_rng(3).uniform(0, 1, (9, 2))
    mean, std = Surrogate(axes, points, values).average([0], np.array([[0.3]]), others)
    others[:, 0] = 0.3
    means, variances = [], []
    for process in draw_processes(points, (values - values.mean()) / values.std()):
        predicted, covariance = process.predict(others, return_cov=True)
        means.append(predicted.mean())
        variances.append((covariance - process.kernel_.k2.noise_level * np.eye(9)).mean())
    assert mean[0] == pytest.approx(values.mean() + values.std() * np.mean(means))
    assert std[0] == pytest.approx(values.std() * np.sqrt(np.mean(variances) + np.var(means)), rel=1e-5)


def test_kernels_gather_around_the_truth_also_of_more_parameters() -> None:
    rng = np.random.default_rng(6)
    for lengths in ([0.3, 2.0], [0.3, 2.0, 9.0, 9.0, 9.0, 9.0]):
        points = rng.uniform(0, 1, (100, len(lengths)))
        truth = ConstantKernel(2.0) * Matern(lengths, nu=2.5) + WhiteKernel(0.05)
        values = GaussianProcessRegressor(truth).sample_y(points, random_state=0)[:, 0]
        processes = draw_processes(points, (values - values.mean()) / values.std())
        drawn = np.array([process.kernel_.theta for process in processes])  # logarithms: signal, lengths, noise
        assert np.ptp(drawn, axis=0).min() > 0.2  # not one kernel, fitted
        assert drawn[:, 1].mean() == pytest.approx(np.log(0.3), abs=0.5)
        assert drawn[:, -1].mean() == pytest.approx(np.log(0.05 / values.var()), abs=0.5)
        assert (drawn[:, 1] < drawn[:, 2:-1].min(axis=1)).all()


def test_the_model_is_the_same_for_the_same_data_in_any_units() -> None:
    axes, points, values = additive(20, np.random.default_rng(9))
    one, same, other = (Surrogate(axes, points, v).marginal(0, PLACES) for v in (values, values, 100 * values + 7))
    np.testing.assert_array_equal(one.mean, same.mean)
    np.testing.assert_allclose(100 * one.mean + 7, other.mean)
    np.testing.assert_allclose(100 * one.std, other.std)


def test_a_surface_averages_to_its_marginal_and_with_the_others_given_the_model_is_asked_there() -> None:
    axes, points, values = additive(30, np.random.default_rng(4))
    model = Surrogate(axes, points, values)
    places = np.array([0.2, 0.8])
    surface = model.surface(0, 1, places, np.unique(points[:, 1]))
    assert surface.shape == (30, 2)
    np.testing.assert_allclose(surface.mean(axis=0), model.marginal(0, places).mean, atol=0.01)
    given = model.marginal(0, np.array([0.4]), at=np.array([0.9, 0.7]))
    assert given.mean[0] == pytest.approx(model.average([0, 1], np.array([[0.4, 0.7]]), np.zeros((1, 2)))[0][0])
    assert given.mean[0] == pytest.approx(wave(np.array([0.4]))[0] + 0.7, abs=0.05)


def test_the_model_rests_on_finished_configurations_alone_and_on_enough_of_them() -> None:
    known = record(realistic(configurations=20))
    finished = known.members.loc[known.members["status"] == "FINISHED", "hash"]
    kept = known.evaluations["held_out_mig"].where(known.evaluations["hash"].isin(finished), 0.9)
    absurd = known._replace(evaluations=known.evaluations.assign(held_out_mig=kept))
    one, other = (surrogate(summarise(asked), 0) for asked in (known, absurd))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.marginal(0, PLACES).mean, other.marginal(0, PLACES).mean)
    points = [{"tau": 0.2 * (1 + n), "z_dim": 5, "gamma_tc": 4.0} for n in range(FEWEST)]
    runs = [run_of(n, point, seed, (0.1 + n / 50, 0.5)) for n, point in enumerate(points) for seed in (0, 1)]
    assert surrogate(summarise(record(InventedSearch(describe(), runs[:-2]))), 0) is None
    assert surrogate(summarise(record(InventedSearch(describe(), runs))), 0) is not None
