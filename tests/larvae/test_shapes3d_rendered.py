"""The look-alike of 3D Shapes: every factor acts as it should, and the images lie near real ones."""

from __future__ import annotations

import colorsys
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae.datasets.shapes3d_rendered import GRID, PAINTS, SKY, geometry_table, render

FLOOR, WALL, OBJECT, SKY_PAINT, HIGHLIGHT = range(5)
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)
ABSENT = 32
"""The byte of the table for none of a paint."""

SAMPLE_SCALES = (6, 5, 1, 5, 0, 1, 0, 7, 1, 0, 7, 1, 1, 0, 2, 1, 7, 6, 2, 1, 4, 2, 0, 7, 6)
"""Scale classes of the real samples, which come without: those at which the look-alike lies nearest."""


@pytest.fixture(scope="module")
def table() -> NDArray[np.uint8]:
    return geometry_table()


def random_classes(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, GRID.sizes, (count, 6))


def shares(
    table: NDArray[np.uint8], paint: int, *, scale: int = 3, shape: int = SPHERE, orientation: int = 7
) -> NDArray[np.float64]:
    """How much of a paint each pixel shows, (64, 64)."""
    return (table.reshape(*GRID.sizes[3:], 64, 64, len(PAINTS))[scale, shape, orientation, :, :, paint] - 32.0) / 160


def image(table: NDArray[np.uint8], *classes: int) -> NDArray[np.int64]:
    return render(np.array([classes]), table)[0].astype(np.int64)


def test_table_is_bytes_and_deterministic(table: NDArray[np.uint8]) -> None:
    assert table.dtype == np.uint8
    assert table.shape == (480, 64, 64, 5)
    assert np.array_equal(geometry_table(), table)


def test_images_are_the_paints_colours_times_their_shares(table: NDArray[np.uint8]) -> None:
    """Against one image in float64, written out: green floor (hue .3), blue wall (.6), red object (0)."""
    colours = np.array([(51, 255, 0), (0, 102, 255), (255, 0, 0), SKY, (255, 255, 255)], np.float64)
    geometry = (table.reshape(*GRID.sizes[3:], 64, 64, 5)[6, CUBE, 2].astype(np.float64) - 32) / 160
    expected = np.clip(np.rint(np.einsum("ijp,pc->cij", geometry, colours)), 0, 255)
    difference = np.abs(image(table, 3, 6, 0, 6, CUBE, 2) - expected)
    assert difference.max() <= 1  # a tie may be rounded either way
    assert np.count_nonzero(difference) < 20


def test_images_are_colour_bytes_with_sky_above(table: NDArray[np.uint8]) -> None:
    images = render(random_classes(300, seed=0), table)
    assert images.dtype == np.uint8
    assert images.shape == (300, 3, 64, 64)
    assert np.array_equal(images[:, :, 0, 0], np.tile(SKY, (300, 1)))


def test_order_and_company_of_images_do_not_matter(table: NDArray[np.uint8]) -> None:
    classes = random_classes(100, seed=1)
    images = render(classes, table)
    order = np.random.default_rng(2).permutation(100)
    assert np.array_equal(render(classes[order], table), images[order])
    assert np.array_equal(render(classes[7:8], table), images[7:8])


def test_no_classes_give_no_images(table: NDArray[np.uint8]) -> None:
    images = render(np.zeros((0, 6), np.int64), table)
    assert images.shape == (0, 3, 64, 64)
    assert images.dtype == np.uint8


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


@pytest.mark.parametrize("hue", range(10))
@pytest.mark.parametrize("paint", [FLOOR, WALL, OBJECT])
def test_hue_classes_are_fully_saturated_hues(table: NDArray[np.uint8], hue: int, paint: int) -> None:
    """Where a surface is alone and not so bright that a channel is cut off at 255."""
    geometry = table.reshape(*GRID.sizes[3:], 64, 64, 5)[3, CUBE, 2]
    others = np.delete(geometry, paint, axis=-1)
    dim = (others == ABSENT).all(-1) & (geometry[..., paint] > ABSENT + 50) & (geometry[..., paint] < ABSENT + 160)
    classes = [5, 5, 5, 3, CUBE, 2]
    classes[paint] = hue
    seen = image(table, *classes)[:, dim] / 255
    assert seen.shape[1] > 50
    assert np.abs(seen / seen.max(0) - np.array(colorsys.hsv_to_rgb(hue / 10, 1, 1))[:, None]).max() < 0.02


@pytest.mark.parametrize("shape", range(4))
@pytest.mark.parametrize("orientation", [0, 7, 14])
def test_the_object_grows_with_scale_and_stands_on_the_floor(
    table: NDArray[np.uint8], shape: int, orientation: int
) -> None:
    visible = [shares(table, OBJECT, scale=s, shape=shape, orientation=orientation) > 0.1 for s in range(8)]
    pixels = [int(np.count_nonzero(mask)) for mask in visible]
    assert all(small < large for small, large in itertools.pairwise(pixels))
    assert 2.2 < pixels[7] / pixels[0] < 3.6  # (1.25 / .75)² = 2.8, and larger things are nearer
    for mask in visible:
        lines, columns = np.nonzero(mask)
        assert 48 < lines.max() < 62
        assert 29 < columns.mean() < 34


def test_shapes_have_their_outlines(table: NDArray[np.uint8]) -> None:
    masks = [shares(table, OBJECT, shape=shape) > 0.1 for shape in range(4)]
    heights = [int(np.count_nonzero(mask.any(1))) for mask in masks]
    widths = [int(np.count_nonzero(mask.any(0))) for mask in masks]
    assert heights[CAPSULE] > max(heights[:3]) + 5
    assert widths[CAPSULE] < min(widths[:3])
    filled = [float(mask.sum()) / (height * width) for mask, height, width in zip(masks, heights, widths, strict=True)]
    assert filled[CUBE] > 0.95
    assert abs(filled[SPHERE] - np.pi / 4) < 0.05
    assert filled[CYLINDER] > filled[CAPSULE] > filled[SPHERE]


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


@pytest.mark.parametrize("orientation", range(15))
def test_mirrored_orientations_have_mirrored_rooms_but_not_mirrored_shadows(
    table: NDArray[np.uint8], orientation: int
) -> None:
    """Sky above wall, but for the wall's position and the half pixel by which the centre is off; the light is fixed."""
    sky = shares(table, SKY_PAINT, scale=0, orientation=orientation)
    mirrored = shares(table, SKY_PAINT, scale=0, orientation=14 - orientation)[:, ::-1]
    assert np.abs(sky - mirrored).mean() < 0.015
    floor = shares(table, FLOOR, orientation=orientation)
    assert (floor[50:56, 40:48] < 0.5).sum() > (floor[50:56, 16:24] < 0.5).sum()


def test_a_sphere_is_the_same_from_all_sides_but_for_its_light(table: NDArray[np.uint8]) -> None:
    masks = [shares(table, OBJECT, orientation=orientation) > 0.1 for orientation in range(15)]
    assert all(np.count_nonzero(mask ^ masks[7]) < 25 for mask in masks)


def test_neighbours_on_the_grid_are_distinct(table: NDArray[np.uint8]) -> None:
    for factor in range(6):
        classes = random_classes(200, seed=10 + factor)
        classes[:, factor] = np.minimum(classes[:, factor], GRID.sizes[factor] - 2)
        neighbours = classes.copy()
        neighbours[:, factor] += 1
        different = (render(classes, table) != render(neighbours, table)).any(1).sum((1, 2))
        assert different.min() >= 20


def test_all_geometries_are_distinct(table: NDArray[np.uint8]) -> None:
    assert len({geometry.tobytes() for geometry in table}) == 480


@pytest.mark.parametrize("factor", range(6))
@pytest.mark.parametrize("side", ["below", "above"])
def test_classes_outside_the_grid_are_an_error(table: NDArray[np.uint8], factor: int, side: str) -> None:
    classes = np.zeros((2, 6), np.int64)
    classes[1, factor] = -1 if side == "below" else GRID.sizes[factor]
    with pytest.raises(ValueError, match=r"`classes` must lie in \[0, \(10, 10, 10, 8, 4, 15\)\), got"):
        render(classes, table)


@pytest.mark.parametrize("shape", [(6,), (3, 7), (3, 5), (2, 6, 1)])
def test_classes_of_another_shape_are_an_error(table: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
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
