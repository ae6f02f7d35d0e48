"""dSprites (Matthey et al., 2017), rendered from its factors to the pixel: no download is needed.

Each sprite is a polygon, drawn as graphics hardware does. The constants are fitted on the data set's published sample
images, of which all 258 are exact.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import polygons, store, writing
from larvae.datasets.factors import FactorGrid
from larvae.datasets.specification import Specification
from larvae.datasets.store import BYTES_PER_IMAGE
from larvae.progress_bar import progress_bar

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
    label="dSprites",
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

Array = NDArray[np.float64]

_CHUNK = 256  # images drawn at a time: the temporaries stay in the cache


def _square() -> Array:
    return 9.6 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])


def _ellipse() -> Array:
    turns = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    return np.stack([12.766 * np.cos(turns), 7.219 * np.sin(turns)], axis=1)


def _heart() -> Array:
    turns = np.linspace(0, 2 * np.pi, 150, endpoint=False)
    height = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
    return 9.6 * np.stack([np.sin(turns) ** 3, -0.15 - height / 14.5], axis=1)


_OUTLINES = (_square(), _ellipse(), _heart())
"""Vertices (V, 2) of each shape at scale 1 and orientation 0, in pixels to the right of and below its centre."""


def render(classes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Draw images from their factors.

    classes: class indices (n, 5) in the order of `GRID.names`.
    Returns uint8 (n, 64, 64) in {0, 1}, rows from the top. ValueError outside the grid.
    """
    return store.unpack(render_packed(classes))


def render_packed(classes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Render as `render` does, but eight pixels a byte, as `store.pack` has them: (n, 512)."""
    classes = np.asarray(classes)
    if classes.ndim != 2 or classes.shape[1] != GRID.num_factors:
        raise ValueError(f"`classes` must have shape (n, {GRID.num_factors}), got {classes.shape}")
    if np.any(classes < 0) or np.any(classes >= GRID.sizes):
        raise ValueError(f"`classes` must lie in [0, {GRID.sizes}), got {classes.min(0)} to {classes.max(0)}")
    packed = np.empty((len(classes), BYTES_PER_IMAGE), np.uint8)
    for shape, outline in enumerate(_OUTLINES):
        rows = np.flatnonzero(classes[:, 0] == shape)
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            packed[chunk] = _draw(outline, classes[chunk])
    return packed


def _draw(outline: Array, classes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Packed images (n, 512) of one shape, from class indices (n, 5)."""
    scale, angle = SCALES[classes[:, 1]], ORIENTATIONS[classes[:, 2]]
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    u, v = outline.T[:, :, None]
    x = CENTRES[classes[:, 3]] + cosine * u + sine * v
    y = CENTRES[classes[:, 4]] - sine * u + cosine * v
    return polygons.fill(polygons.snap(x), polygons.snap(y))


def write_rendered(specification: Specification, path: Path, *, progress: bool = False) -> None:
    """Render all images of a grid of these factors, `GRID` or its first classes, into a prepared file."""
    grid = specification.factors
    assert isinstance(grid, FactorGrid)
    images_per_task = grid.sizes[3] * grid.sizes[4]  # one shape, scale and orientation

    def render_block(start: int) -> int:
        indices = np.arange(start, start + images_per_task)
        packed[start : start + images_per_task] = render_packed(grid.classes(indices))
        return images_per_task

    with (
        writing.writing_packed(path, specification) as packed,
        progress_bar(grid.num_images, "rendering dSprites", shown=progress) as advance,
    ):
        tasks = (partial(render_block, start) for start in range(0, grid.num_images, images_per_task))
        for done in writing.in_order(tasks):
            advance(done)
