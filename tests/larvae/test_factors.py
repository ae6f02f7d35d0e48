"""The grid of factors."""

from __future__ import annotations

import numpy as np
import pytest

from larvae.datasets.dsprites import GRID
from larvae.datasets.factors import FactorGrid, Factors
from larvae.errors import InvalidInputError

SMALL = FactorGrid(names=("a", "b", "c"), sizes=(2, 3, 5))


def test_indices_and_classes_are_inverse_and_the_last_factor_varies_fastest() -> None:
    expected = [(a, b, c) for a in range(2) for b in range(3) for c in range(5)]
    assert SMALL.classes(np.arange(SMALL.num_images)).tolist() == [list(row) for row in expected]
    assert (GRID.sizes, GRID.num_images) == ((3, 6, 40, 32, 32), 737_280)
    indices = np.arange(GRID.num_images)
    assert np.array_equal(GRID.indices(GRID.classes(indices)), indices)


def test_indices_outside_the_grid_are_an_error() -> None:
    for classes in ([[0, 0, 5]], [[2, 0, 0]], [[0, -1, 0]]):
        with pytest.raises(ValueError, match="invalid entry in coordinates array"):
            SMALL.indices(np.array(classes))
    with pytest.raises(ValueError, match="out of bounds"):
        SMALL.classes(np.array([SMALL.num_images]))


@pytest.mark.parametrize("grid", [SMALL, GRID], ids=["small", "dsprites"])
def test_standardised_labels_have_mean_0_and_variance_1(grid: FactorGrid) -> None:
    """The unit interval is index over last index, and goes on beyond the grid: inferred labels are not clipped."""
    classes, last = grid.classes(np.arange(grid.num_images)), np.array(grid.sizes) - 1
    labels = grid.to_labels(classes)
    assert labels.dtype == np.float32
    assert labels.mean(0, dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert labels.var(0, dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert np.abs(grid.to_unit_interval(labels) - classes / last).max() < 1e-6
    beyond = grid.to_unit_interval(2 * grid.to_labels(np.stack([0 * last, last])))
    assert beyond == pytest.approx(np.array([[-0.5] * len(last), [1.5] * len(last)]), abs=1e-6)
    assert np.array_equal(Factors(grid.names, grid.sizes).to_labels(classes), labels)


# Some of the factors


def test_chosen_factors_are_in_the_data_set_s_order_and_no_grid() -> None:
    """Their combinations occur many times each."""
    for names in (("shape", "orientation"), ["orientation", "shape", "shape"]):
        assert GRID.columns(names) == [0, 2]
        chosen = GRID.select(names)
        assert (chosen.names, chosen.sizes, chosen.num_factors) == (("shape", "orientation"), (3, 40), 2)
        assert not isinstance(chosen, FactorGrid)
    assert [chosen.value_name("shape", c) for c in range(3)] == ["square", "ellipse", "heart"]
    assert chosen.value_name("orientation", 39) == GRID.value_name("orientation", 39) == "360°"
    assert chosen.periods["orientation"] == 39
    assert SMALL.value_name("b", 2) == "2"


def test_labels_of_chosen_factors_are_those_of_all() -> None:
    classes = GRID.classes(np.random.default_rng(0).integers(GRID.num_images, size=100))
    chosen = GRID.select(["scale", "orientation"])
    labels = chosen.to_labels(classes[:, [1, 2]])
    assert np.array_equal(labels, GRID.to_labels(classes)[:, [1, 2]])
    everything = GRID.to_unit_interval(GRID.to_labels(classes))
    assert np.array_equal(chosen.to_unit_interval(labels), everything[:, [1, 2]])


def test_unknown_factor_is_named_with_those_there_are() -> None:
    for choose in (GRID.columns, GRID.select):
        rule = "^`factor` must be one of shape, scale, orientation, position_x, position_y, got colour$"
        with pytest.raises(InvalidInputError, match=rule):
            choose(["shape", "colour"])
