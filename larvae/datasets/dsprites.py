"""dSprites (Matthey et al., 2017), rendered from its factors to the pixel: no download is needed.

A sprite is a closed form in its own coordinates (u, v); a pixel is set when its centre lies inside.
The constants are fitted on the data set's published sample images. Over 258 of them the rendering
differs in two pixels, both of one heart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import store, writing
from larvae.datasets.factors import FactorGrid
from larvae.datasets.specification import Specification
from larvae.datasets.store import IMAGE_SIZE

GRID = FactorGrid(
    names=("shape", "scale", "orientation", "position_x", "position_y"),
    sizes=(3, 6, 40, 32, 32),
    values={
        "shape": ("square", "ellipse", "heart"),
        "scale": tuple(f"{scale:g}" for scale in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        "orientation": tuple(f"{360 * index / 39:.0f}°" for index in range(40)),
        "position_x": tuple(f"{index / 31:.2f}" for index in range(32)),
        "position_y": tuple(f"{index / 31:.2f}" for index in range(32)),
    },
    periods={"orientation": 39},  # class 39 is a whole turn
)
"""The five factors that vary; the sixth, colour, is constant and dropped, as in the paper."""

SPECIFICATION = Specification(
    name="dsprites",
    title="white shapes on black (Matthey et al., 2017), rendered to the pixel",
    factors=GRID,
    num_images=GRID.num_images,
    channels=1,
    is_rendered=True,
    takes="the published dSprites .npz or .hdf5",
    home="https://github.com/google-deepmind/dsprites-dataset",
    checksums={
        ".npz": ("md5", "7da33b31b13a06f4b04a70402ce90c2e"),
        ".hdf5": ("sha256", "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb"),
        ".h5": ("sha256", "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb"),
    },
)

SCALES = np.linspace(0.5, 1.0, 6)
ORIENTATIONS = np.linspace(0.0, 2 * np.pi, 40)  # the end point is included: class 39 looks like class 0
CENTRES = 16.0 + 32.0 * np.linspace(0.0, 1.0, 32)
"""Sprite centres in pixels along x (to the right) and y (downwards)."""

_SQUARE_HALF_SIDE = 9.598
_ELLIPSE_SEMI_AXES = (12.7659, 7.2123)
_HEART_HALF_WIDTH = 9.5935
_CHUNK = 128  # images rendered at a time: the temporaries stay in the cache

Array = NDArray[np.float64]


def _inside_square(u: Array, v: Array) -> NDArray[np.bool_]:
    return (np.abs(u) <= _SQUARE_HALF_SIDE) & (np.abs(v) <= _SQUARE_HALF_SIDE)


def _inside_ellipse(u: Array, v: Array) -> NDArray[np.bool_]:
    a, b = _ELLIPSE_SEMI_AXES
    return np.less_equal(np.square(u / a) + np.square(v / b), 1)


def _inside_heart(u: Array, v: Array) -> NDArray[np.bool_]:
    """Outline |u| = w sin³t: v must lie between the outline's branches at t and π − t."""
    sine = np.cbrt(np.abs(u) / _HEART_HALF_WIDTH)  # sin t, more than 1 beside the heart
    sine_squared = np.minimum(np.square(sine), 1.0)
    cosine = np.sqrt(1 - sine_squared)
    # 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t in powers of c = cos t; odd powers change sign at π − t.
    c2 = 1 - sine_squared
    even = -5 * (2 * c2 - 1) - (8 * c2 * c2 - 8 * c2 + 1)
    odd = cosine * (13 - 2 * (4 * c2 - 3))
    height = (v + 1.4365) / -0.6622
    return (sine <= 1) & (np.abs(height - even) <= odd)


_INSIDE: tuple[Callable[[Array, Array], NDArray[np.bool_]], ...] = (_inside_square, _inside_ellipse, _inside_heart)
_RADII = (9.6 * np.sqrt(2), 12.8, 14.0)
"""Radius of a circle around the origin that holds each shape at scale 1, in pixels."""


def render(classes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Draw images from their factors.

    classes: class indices (n, 5) in the order of `GRID.names`.
    Returns uint8 (n, 64, 64) in {0, 1}, rows from the top. ValueError outside the grid.
    """
    classes = np.asarray(classes)
    if classes.ndim != 2 or classes.shape[1] != GRID.num_factors:
        raise ValueError(f"`classes` must have shape (n, {GRID.num_factors}), got {classes.shape}")
    if np.any(classes < 0) or np.any(classes >= GRID.sizes):
        raise ValueError(f"`classes` must lie in [0, {GRID.sizes}), got {classes.min(0)} to {classes.max(0)}")
    images = np.zeros((len(classes), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for shape in range(GRID.sizes[0]):
        for scale in range(GRID.sizes[1]):
            rows = np.flatnonzero((classes[:, 0] == shape) & (classes[:, 1] == scale))
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                _draw(images, chunk, shape, SCALES[scale], classes[chunk, 2:])
    return images


def _draw(
    images: NDArray[np.uint8], rows: NDArray[np.intp], shape: int, scale: float, classes: NDArray[np.integer]
) -> None:
    """Draw one shape at one scale into `images[rows]`, within a window around each sprite.

    classes: orientation, position_x, position_y, (n, 3).
    """
    angle = ORIENTATIONS[classes[:, 0], None, None]
    centre_x, centre_y = CENTRES[classes[:, 1], None], CENTRES[classes[:, 2], None]
    radius = _RADII[shape] * scale
    window = np.arange(int(np.ceil(2 * radius)) + 1)
    columns = np.floor(centre_x - radius).astype(np.intp) + window  # [image, column]
    lines = np.floor(centre_y - radius).astype(np.intp) + window  # [image, line]
    dx = (columns + 0.5 - centre_x)[:, None, :] / scale
    dy = (lines + 0.5 - centre_y)[:, :, None] / scale
    u = np.cos(angle) * dx - np.sin(angle) * dy
    v = np.sin(angle) * dx + np.cos(angle) * dy
    images[rows[:, None, None], lines[:, :, None], columns[:, None, :]] = _INSIDE[shape](u, v)


def write_rendered(specification: Specification, path: Path, *, progress: bool = False) -> None:
    """Render all images of a grid of these factors, `GRID` or its first classes, into a prepared file."""
    grid = specification.factors
    assert isinstance(grid, FactorGrid)
    images_per_task = grid.sizes[3] * grid.sizes[4]  # one shape, scale and orientation

    def render_block(start: int) -> int:
        indices = np.arange(start, start + images_per_task)
        packed[start : start + images_per_task] = store.pack(render(grid.classes(indices)))
        return images_per_task

    with (
        writing.writing_packed(path, specification) as packed,
        writing.progress_bar(grid.num_images, "rendering dSprites", progress) as bar,
    ):
        tasks = (partial(render_block, start) for start in range(0, grid.num_images, images_per_task))
        for done in writing.in_order(tasks):
            bar.update(done)
