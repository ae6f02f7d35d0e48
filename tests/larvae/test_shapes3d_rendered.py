"""The look-alike of 3D Shapes: every factor acts as it should, and the images lie near real ones."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import datasets
from larvae.datasets import Dataset, layouts, shapes3d
from larvae.datasets.shapes3d_rendered import GRID, PAINTS, SKY, render
from larvae.errors import InvalidInputError

FLOOR, WALL, OBJECT, SKY_PAINT, HIGHLIGHT = range(5)
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)
ABSENT = 32
"""The byte of the table for none of a paint."""

SAMPLE_SCALES = (6, 5, 1, 5, 0, 1, 0, 7, 1, 0, 7, 1, 1, 0, 2, 1, 7, 6, 2, 1, 4, 2, 0, 7, 6)
"""Scale classes of the real samples, which come without: those at which the look-alike lies nearest."""


@pytest.fixture(scope="module")
def look_alike(cache_directory: Path) -> Dataset:
    """Rendered once, which takes seconds."""
    return datasets.open_dataset("shapes3d-rendered", datasets.prepare("shapes3d-rendered"))


@pytest.fixture(scope="module")
def table(look_alike: Dataset) -> NDArray[np.uint8]:
    assert isinstance(look_alike.store, layouts.RenderedImages)
    return look_alike.store.geometry


def random_classes(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, GRID.sizes, (count, 6))


def shares(
    table: NDArray[np.uint8], paint: int, *, scale: int = 3, shape: int = SPHERE, orientation: int = 7
) -> NDArray[np.float64]:
    """Share of a paint in each pixel, (64, 64)."""
    return (table.reshape(*GRID.sizes[3:], 64, 64, len(PAINTS))[scale, shape, orientation, :, :, paint] - 32.0) / 160


def image(table: NDArray[np.uint8], *classes: int) -> NDArray[np.int64]:
    return render(np.array([classes]), table)[0].astype(np.int64)


def test_images_are_the_paints_colours_times_their_shares(table: NDArray[np.uint8]) -> None:
    """Against one image in float64, written out: green floor (hue .3), blue wall (.6), red object (0)."""
    colours = np.array([(51, 255, 0), (0, 102, 255), (255, 0, 0), SKY, (255, 255, 255)], np.float64)
    geometry = (table.reshape(*GRID.sizes[3:], 64, 64, 5)[6, CUBE, 2].astype(np.float64) - 32) / 160
    expected = np.clip(np.rint(np.einsum("ijp,pc->cij", geometry, colours)), 0, 255)
    difference = np.abs(image(table, 3, 6, 0, 6, CUBE, 2) - expected)
    assert difference.max() <= 1  # a tie may be rounded either way
    assert np.count_nonzero(difference) < 20


def test_data_set_renders_its_images_from_a_small_shared_table(look_alike: Dataset, table: NDArray[np.uint8]) -> None:
    known, path = shapes3d.RENDERED_SPECIFICATION, datasets.cached_path("shapes3d-rendered")
    assert known.factors is shapes3d.GRID
    assert (shapes3d.GRID.names, shapes3d.GRID.sizes) == (GRID.names, GRID.sizes)
    assert "not 3D Shapes" in known.title
    assert (look_alike.num_images, look_alike.maximum) == (480_000, 255)
    assert (table.dtype, table.shape) == (np.uint8, (480, 64, 64, 5))
    assert isinstance(table, np.memmap)
    assert path.stat().st_size < 20e6
    layouts.require_digest(path, look_alike.specification)
    indices = np.random.default_rng(1).integers(480_000, size=50)
    images = render(GRID.classes(indices), table)
    assert (images.dtype, images.shape) == (np.uint8, (50, 3, 64, 64))
    assert np.array_equal(images[:, :, 0, 0], np.tile(SKY, (50, 1)))
    order = np.random.default_rng(2).permutation(50)
    assert np.array_equal(look_alike.images(indices[order]), images[order])  # whatever their order and company
    assert np.array_equal(render(np.zeros((0, 6), np.int64), table), images[:0])
    with pytest.raises(InvalidInputError, match=r"^`data_file` must be left out with shapes3d-rendered, [^\n]+$"):
        datasets.verify("shapes3d-rendered", Path("3dshapes.h5"))


@pytest.mark.parametrize(("factor", "paint"), [(0, FLOOR), (1, WALL), (2, OBJECT)])
def test_a_hue_changes_the_pixels_of_its_surface_and_no_others(
    table: NDArray[np.uint8], factor: int, paint: int
) -> None:
    classes = random_classes(200, seed=3 + factor)
    other = classes.copy()
    other[:, factor] = (classes[:, factor] + 1 + np.arange(200) % 9) % 10
    changed = (render(classes, table) != render(other, table)).any(1)
    geometries = np.ravel_multi_index(tuple(classes[:, 3:].T), GRID.sizes[3:])
    share = table[geometries, :, :, paint]
    assert not changed[share == ABSENT].any()
    assert changed[share > ABSENT + 80].all()


def test_the_object_grows_with_scale_and_stands_on_the_floor(table: NDArray[np.uint8]) -> None:
    for shape, orientation in itertools.product(range(4), (0, 7, 14)):
        visible = [shares(table, OBJECT, scale=s, shape=shape, orientation=orientation) > 0.1 for s in range(8)]
        pixels = [int(np.count_nonzero(mask)) for mask in visible]
        assert all(small < large for small, large in itertools.pairwise(pixels))
        assert 2.2 < pixels[7] / pixels[0] < 3.6  # (1.25 / .75)² = 2.8, and larger things are nearer
        for mask in visible:
            lines, columns = np.nonzero(mask)
            assert 48 < lines.max() < 62
            assert 29 < columns.mean() < 34


def test_orientation_moves_the_corner_from_the_right_over_the_middle_to_the_left(table: NDArray[np.uint8]) -> None:
    """The side wall is darker than the back wall: where a line of the wall turns dark is the room's corner."""

    def dark_columns(orientation: int) -> NDArray[np.intp]:
        return np.flatnonzero(shares(table, WALL, scale=0, shape=CUBE, orientation=orientation)[22, 1:-1] < 0.8) + 1

    corners_right = [dark_columns(orientation).min() for orientation in range(4)]
    corners_left = [dark_columns(orientation).max() for orientation in range(11, 15)]
    assert 42 < corners_right[0] < 48
    assert 15 < corners_left[-1] < 21
    assert all(one < next_one for one, next_one in itertools.pairwise([*corners_right, 64]))
    assert all(one < next_one for one, next_one in itertools.pairwise([-1, *corners_left]))
    assert len(dark_columns(7)) == 0


def test_classes_outside_the_grid_are_an_error(table: NDArray[np.uint8]) -> None:
    for factor, size in enumerate(GRID.sizes):
        for outside in (-1, size):
            classes = np.zeros((2, 6), np.int64)
            classes[1, factor] = outside
            with pytest.raises(ValueError, match=r"`classes` must lie in \[0, \(10, 10, 10, 8, 4, 15\)\), got"):
                render(classes, table)
    for shape in ((6,), (3, 7), (2, 6, 1)):
        with pytest.raises(ValueError, match=r"`classes` must have shape \(n, 6\), got \("):
            render(np.zeros(shape, np.int64), table)


def real_samples() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Classes (25, 6) and images (25, 3, 64, 64) of the publisher, which are no part of this repository."""
    beside_repository = Path(__file__).parents[2] / "../shared/data/shapes3d_25.npz"
    path = Path(os.environ.get("LARVAE_SHAPES3D_SAMPLES") or beside_repository)
    if not path.exists():
        pytest.skip("real sample images are outside data: name a file in LARVAE_SHAPES3D_SAMPLES")
    samples = np.load(path)
    columns = [
        samples["floor_wall_object_hue_idx_INFERRED"],
        np.array(SAMPLE_SCALES)[:, None],
        samples["shape_idx_INFERRED"][:, None],
        samples["orientation_idx_INFERRED"][:, None],
    ]
    return np.concatenate(columns, axis=1), np.moveaxis(samples["images"], 3, 1).astype(np.int64)


def test_real_images_are_near(table: NDArray[np.uint8]) -> None:
    """Mean absolute errors in levels of 255, over pixels that show one surface alone and over borders; see with -s."""
    classes, images = real_samples()
    errors = np.abs(render(classes, table) - images).mean(1)
    geometry = table[np.ravel_multi_index(tuple(classes[:, 3:].T), GRID.sizes[3:])]
    present = geometry[..., :HIGHLIGHT] != ABSENT
    alone = present.sum(-1) == 1
    measured = {PAINTS[paint]: errors[alone & present[..., paint]].mean() for paint in range(HIGHLIGHT)}
    measured |= {"borders": errors[~alone].mean(), "all": errors.mean(), "worst image": errors.mean((1, 2)).max()}
    print("\nmean absolute errors:", {name: round(float(error), 2) for name, error in measured.items()})
    assert measured["all"] < 1.4
    assert measured["worst image"] < 1.9
    assert measured["sky"] < 0.1


def test_real_images_are_nearest_at_their_own_classes(table: NDArray[np.uint8]) -> None:
    """Every factor's classes run as in the real images: no step to a neighbour comes nearer to any of them."""
    classes, images = real_samples()
    errors = np.abs(render(classes, table) - images).mean((1, 2, 3))
    for factor, step in itertools.product(range(6), (-1, 1)):
        moved = classes.copy()
        moved[:, factor] += step
        inside = (moved[:, factor] >= 0) & (moved[:, factor] < GRID.sizes[factor])
        further = np.abs(render(moved[inside], table) - images[inside]).mean((1, 2, 3))
        assert (further > errors[inside]).all()
