"""The grid of factors."""

from __future__ import annotations

import numpy as np
import pytest

from larvae.datasets.dsprites import GRID
from larvae.datasets.factors import FactorGrid, Factors
from larvae.errors import InvalidInputError

SMALL = FactorGrid(names=("a", "b", "c"), sizes=(2, 3, 5))


def test_dsprites_grid_is_the_published_one() -> None:
    assert GRID.sizes == (3, 6, 40, 32, 32)
    assert GRID.num_images == 737_280
    assert GRID.num_factors == len(GRID.names) == 5


def test_last_factor_varies_fastest() -> None:
    expected = [(a, b, c) for a in range(2) for b in range(3) for c in range(5)]
    assert SMALL.classes(np.arange(SMALL.num_images)).tolist() == [list(row) for row in expected]


@pytest.mark.parametrize("grid", [SMALL, GRID], ids=["small", "dsprites"])
def test_indices_and_classes_are_inverse(grid: FactorGrid) -> None:
    indices = np.arange(grid.num_images)
    classes = grid.classes(indices)
    assert classes.shape == (grid.num_images, grid.num_factors)
    assert np.array_equal(classes.min(0), np.zeros(grid.num_factors))
    assert np.array_equal(classes.max(0), np.array(grid.sizes) - 1)
    assert np.array_equal(grid.indices(classes), indices)


@pytest.mark.parametrize("classes", [[[0, 0, 5]], [[2, 0, 0]], [[0, -1, 0]]])
def test_indices_outside_the_grid_are_an_error(classes: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="invalid entry in coordinates array"):
        SMALL.indices(np.array(classes))


def test_indices_beyond_the_last_image_are_an_error() -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        SMALL.classes(np.array([SMALL.num_images]))


@pytest.mark.parametrize("grid", [SMALL, GRID], ids=["small", "dsprites"])
def test_standardised_labels_have_mean_0_and_variance_1(grid: FactorGrid) -> None:
    labels = grid.standardise(grid.classes(np.arange(grid.num_images)))
    assert labels.dtype == np.float32
    assert labels.mean(0, dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert labels.var(0, dtype=np.float64) == pytest.approx(1, abs=1e-6)


def test_standardised_labels_keep_the_order_of_classes() -> None:
    classes = np.stack([np.arange(5) % 2, np.arange(5) % 3, np.arange(5)], axis=1)
    assert np.all(np.diff(SMALL.standardise(classes)[:, 2]) > 0)


@pytest.mark.parametrize("grid", [SMALL, GRID], ids=["small", "dsprites"])
def test_unit_interval_is_index_over_last_index(grid: FactorGrid) -> None:
    classes = grid.classes(np.arange(grid.num_images))
    expected = classes / (np.array(grid.sizes) - 1)
    assert np.abs(grid.to_unit_interval(grid.standardise(classes)) - expected).max() < 1e-6


def test_unit_interval_goes_on_beyond_the_grid() -> None:
    """Inferred labels are not clipped: a label twice as far from the centre is twice as far away."""
    first, last = GRID.standardise(np.array([np.zeros(5, int), np.array(GRID.sizes) - 1]))
    assert GRID.to_unit_interval(2 * np.stack([first, last])) == pytest.approx(
        np.array([[-0.5] * 5, [1.5] * 5]), abs=1e-6
    )


# Some of the factors


@pytest.mark.parametrize("names", [("shape", "position_x"), ("position_x", "shape"), ["position_x", "shape", "shape"]])
def test_chosen_factors_are_in_the_data_set_s_order(names: list[str]) -> None:
    assert GRID.columns(names) == [0, 3]
    chosen = GRID.select(names)
    assert (chosen.names, chosen.sizes, chosen.num_factors) == (("shape", "position_x"), (3, 32), 2)


def test_chosen_factors_are_no_grid() -> None:
    """Their combinations occur many times each."""
    assert not isinstance(GRID.select(GRID.names), FactorGrid)


def test_labels_of_chosen_factors_are_those_of_all() -> None:
    classes = GRID.classes(np.random.default_rng(0).integers(GRID.num_images, size=100))
    chosen = GRID.select(["scale", "orientation"])
    labels = chosen.standardise(classes[:, [1, 2]])
    assert np.array_equal(labels, GRID.standardise(classes)[:, [1, 2]])
    everything = GRID.to_unit_interval(GRID.standardise(classes))
    assert np.array_equal(chosen.to_unit_interval(labels), everything[:, [1, 2]])


def test_chosen_factors_keep_the_names_and_periods_of_their_values() -> None:
    chosen = GRID.select(["orientation", "shape"])
    assert [chosen.value_name("shape", c) for c in range(3)] == ["square", "ellipse", "heart"]
    assert chosen.value_name("orientation", 39) == GRID.value_name("orientation", 39) == "360°"
    assert chosen.periods["orientation"] == 39


def test_value_without_a_name_is_its_index() -> None:
    assert SMALL.value_name("b", 2) == "2"


def test_every_value_of_dsprites_has_a_name_of_its_own() -> None:
    for name, size in zip(GRID.names, GRID.sizes, strict=True):
        assert len({GRID.value_name(name, c) for c in range(size)}) == size


@pytest.mark.parametrize("choose", [GRID.columns, GRID.select], ids=["columns", "select"])
def test_unknown_factor_is_named_with_those_there_are(choose: object) -> None:
    rule = "^`factor` must be one of shape, scale, orientation, position_x, position_y, got colour$"
    with pytest.raises(InvalidInputError, match=rule):
        choose(["shape", "colour"])


def test_factors_that_are_no_grid_are_standardised_alike() -> None:
    factors = Factors(SMALL.names, SMALL.sizes)
    classes = SMALL.classes(np.arange(SMALL.num_images))
    assert np.array_equal(factors.standardise(classes), SMALL.standardise(classes))
