"""The renderer against triangles, against real images, and the prepared data set against the renderer."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import datasets
from larvae.datasets import Dataset
from larvae.datasets.dsprites import GRID, render
from larvae.datasets.layouts import PackedImages


def literal_outline(shape: int) -> list[tuple[float, float]]:
    if shape == 0:
        return [(-9.6, -9.6), (9.6, -9.6), (9.6, 9.6), (-9.6, 9.6)]
    turns = [2 * math.pi * k / (100, 150)[shape - 1] for k in range((100, 150)[shape - 1])]
    if shape == 1:
        return [(12.766 * math.cos(t), 7.219 * math.sin(t)) for t in turns]
    curve = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    return [(9.6 * math.sin(t) ** 3, -1.44 - 9.6 * c / 14.5) for t, c in zip(turns, curve, strict=True)]


def literal_image(shape: int, scale: int, orientation: int, position_x: int, position_y: int) -> NDArray[np.bool_]:
    """One image as graphics hardware draws it: a fan of triangles around the centre, every pixel of the plane tested.

    A pixel is inside a triangle where all three edge functions are positive, or zero on a top or a left edge.
    """
    s = np.linspace(0.5, 1, 6)[scale]
    theta = np.linspace(0, 2 * np.pi, 40)[orientation]
    centre = np.array([16 + 32 * position_x / 31, 16 + 32 * position_y / 31])
    turn = s * np.array([(np.cos(theta), -np.sin(theta)), (np.sin(theta), np.cos(theta))])
    outline = np.rint((np.array(literal_outline(shape)) @ turn + centre) * 256).astype(int)
    fan = np.stack(
        [np.broadcast_to(np.rint(centre * 256).astype(int), outline.shape), outline, np.roll(outline, -1, 0)]
    )
    y, x = np.mgrid[:64, :64] * 256 + 128
    inside = np.ones((len(outline), 64, 64), bool)
    for start, end in zip(fan, np.roll(fan, -1, 0), strict=True):
        (width, height), (from_x, from_y) = (end - start).T[:, :, None, None], start.T[:, :, None, None]
        edge = width * (y - from_y) - height * (x - from_x)
        is_top_left = (height < 0) | ((height == 0) & (width > 0))
        inside &= (edge > 0) | ((edge == 0) & is_top_left)
    assert inside.sum(0).max() == 1  # no pixel belongs to two triangles
    return inside.any(0)


def literal_render(classes: NDArray[np.integer]) -> NDArray[np.bool_]:
    return np.stack([literal_image(*map(int, row)) for row in classes])


def random_classes(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, GRID.sizes, (count, 5))


def test_random_images_are_what_triangles_give() -> None:
    """Binary bytes, whatever their order and company."""
    classes = random_classes(60, seed=0)
    images = render(classes)
    assert (images.dtype, images.shape) == (np.uint8, (60, 64, 64))
    assert np.array_equal(images, literal_render(classes))
    assert np.array_equal(render(classes[::-1]), images[::-1])
    assert np.array_equal(render(classes[7:8]), images[7:8])
    assert np.array_equal(render(classes[:0]), images[:0])


def test_extremes_of_every_factor_are_what_triangles_give() -> None:
    """The last orientation looks like the first, and no image is empty."""
    classes = np.array(list(itertools.product(range(3), (0, 5), (0, 39), (0, 31), (0, 31))))
    images = render(classes)
    assert np.array_equal(images, literal_render(classes))
    assert np.array_equal(images[classes[:, 2] == 0], images[classes[:, 2] == 39])
    assert (images.sum((1, 2)) > 50).all()


def test_classes_outside_the_grid_are_an_error() -> None:
    for factor, size in enumerate(GRID.sizes):
        for outside in (-1, size):
            classes = np.zeros((2, 5), np.int64)
            classes[1, factor] = outside
            with pytest.raises(ValueError, match=r"`classes` must lie in \[0, \(3, 6, 40, 32, 32\)\), got"):
                render(classes)
    for shape in ((5,), (3, 6), (2, 5, 1)):
        with pytest.raises(ValueError, match=r"`classes` must have shape \(n, 5\), got \("):
            render(np.zeros(shape, np.int64))


def test_real_images_are_exact() -> None:
    """Against images of the data set's publisher, which are no part of this repository."""
    beside_repository = Path(__file__).parents[2] / "../shared/data/dsprites_gif_258.npz"
    path = Path(os.environ.get("LARVAE_DSPRITES_SAMPLES") or beside_repository)
    if not path.exists():
        pytest.skip("real sample images are outside data: name a file in LARVAE_DSPRITES_SAMPLES")
    samples = np.load(path)
    classes = samples["latents_classes"][:, 1:]  # the first factor, colour, is constant
    assert len(classes) > 0
    assert np.array_equal(render(classes), samples["imgs"])


def packed(dataset: Dataset) -> NDArray[np.uint8]:
    assert isinstance(dataset.store, PackedImages)
    return dataset.store.packed


def test_prepared_data_set_holds_the_rendered_images(dataset: Dataset) -> None:
    indices = np.random.default_rng(5).integers(GRID.num_images, size=1000)
    indices[:2] = 0, GRID.num_images - 1
    images = dataset.images(indices)
    assert images.shape == (1000, 1, 64, 64)
    assert images.dtype == np.uint8
    assert np.array_equal(images[:, 0], render(GRID.classes(indices)))


def test_prepared_file_is_small_named_by_its_content_and_made_once(dataset: Dataset, cache_directory: Path) -> None:
    path = cache_directory / "dsprites-rendered-2.h5"
    before = path.stat()
    assert before.st_size <= 400e6
    assert dataset.num_images == 737_280 == len(packed(dataset))
    assert dataset.store.fingerprint == hashlib.sha256(packed(dataset).data).hexdigest()
    assert datasets.prepare("dsprites") == path == datasets.cached_path("dsprites")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
