"""3D Shapes (Burgess and Kim, 2018): reads the published `3dshapes.h5`; and its look-alike, which needs no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import damage, guarded_hdf5, shapes3d_rendered, writing
from larvae.datasets.checksums import require_published
from larvae.datasets.factors import FactorGrid
from larvae.datasets.guarded_hdf5 import GuardedArray
from larvae.datasets.specification import Specification
from larvae.datasets.store import IMAGE_SIZE
from larvae.errors import InvalidInputError

_HUES = tuple(f"{hue / 10:g}" for hue in range(10))

GRID = replace(
    shapes3d_rendered.GRID,
    values={
        "floor_hue": _HUES,
        "wall_hue": _HUES,
        "object_hue": _HUES,
        "scale": tuple(f"{scale:.2f}" for scale in np.linspace(0.75, 1.25, 8)),
        "shape": ("cube", "cylinder", "sphere", "capsule"),
        "orientation": tuple(f"{degrees:.0f}°" for degrees in np.linspace(-30, 30, 15)),
    },
    periods={"floor_hue": 10, "wall_hue": 10, "object_hue": 10},  # hue .9 lies beside hue 0
)

SPECIFICATION = Specification(
    name="shapes3d",
    label="3DShapes",
    title="a shape in a coloured room (Burgess and Kim, 2018)",
    factors=GRID,
    num_images=GRID.num_images,
    channels=3,
    takes="the published 3dshapes.h5",
    home="https://github.com/google-deepmind/3d-shapes",
    url="https://storage.googleapis.com/3d-shapes/3dshapes.h5",
    download_bytes=267_573_662,
    checksums={".h5": ("sha256", "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785")},
)

RENDERED_SPECIFICATION = Specification(
    name="shapes3d-rendered",
    label="3DShapes (rendered)",
    title="a look-alike of shapes3d, ray-cast here; not 3D Shapes itself",
    factors=GRID,
    num_images=GRID.num_images,
    channels=3,
    is_rendered=True,
    render=shapes3d_rendered.render,
)

_MIN_SLICE, _MAX_SLICE = 2048, 32_768
"""Images read at a time; where the file's chunks span more than the first number, as many, up to 400 MB."""


verify = require_published


def convert(specification: Specification, path: Path, target: Path, *, progress: bool = False) -> None:
    """Write the images of a verified file to the prepared file `target`.

    Raises InvalidInputError unless `images` is uint8 (N, 64, 64, 3) and the rows of `labels` follow the factor grid.
    """
    with guarded_hdf5.opened(path) as file:
        with _reading(path):
            _require_grid_order(specification, path, file["labels"])
            images = file["images"]
        expected = (specification.num_images, IMAGE_SIZE, IMAGE_SIZE, 3)
        if images.shape != expected or images.dtype != np.uint8:
            raise InvalidInputError(f"`images` in `{path}` must be uint8 {expected}, got {images.dtype} {images.shape}")
        writing.write_colour(
            target, specification, _batches(path, images), description=f"converting {path.name}", progress=progress
        )


def write_rendered(specification: Specification, path: Path, *, progress: bool = False) -> None:
    """Write the look-alike's geometry, from which its images are rendered on demand, to a prepared file."""
    if progress:
        print("ray-casting the look-alike of 3D Shapes", flush=True)
    writing.write_geometry(path, specification, shapes3d_rendered.geometry_table())


def class_indices(labels: NDArray[np.floating]) -> NDArray[np.int64]:
    """Published labels (N, k), in their mixed units, to class indices (N, k): the rank of each value in its column."""
    rounded = np.round(labels, 6)  # one value may be written in several ways
    return np.stack([np.unique(column, return_inverse=True)[1] for column in rounded.T], axis=1)


def _reading(path: Path) -> AbstractContextManager[None]:
    return damage.told(f"`{path}` must be a whole 3D Shapes file with `images` and `labels`")


def _require_grid_order(specification: Specification, path: Path, stored: GuardedArray) -> None:
    grid = specification.factors
    assert isinstance(grid, FactorGrid)
    expected = (specification.num_images, grid.num_factors)
    if stored.shape != expected or stored.dtype.kind not in "fiu":
        raise InvalidInputError(f"`labels` in `{path}` must hold numbers {expected}, got {stored.dtype} {stored.shape}")
    labels = stored[:]
    found, ordered = class_indices(labels), grid.classes(np.arange(grid.num_images))
    if wrong := np.flatnonzero(np.any(found != ordered, axis=1)).tolist():
        raise InvalidInputError(
            f"`labels` in `{path}` must follow the grid {grid.sizes}, the last factor fastest, "
            f"got {labels[wrong[0]].tolist()} in row {wrong[0]}"
        )


def _batches(path: Path, images: GuardedArray) -> Iterator[Callable[[], NDArray[np.uint8]]]:
    """An HDF5 data set (N, 64, 64, 3) in batches. A slice holds whole chunks: none is decompressed twice."""
    num_images = len(images)
    chunk = images.chunks[0] if images.chunks else 1
    step = min(chunk * -(-_MIN_SLICE // chunk), _MAX_SLICE)
    for start in range(0, num_images, step):
        with _reading(path):
            part = images[start : start + step]
        for first in range(0, len(part), writing.IMAGES_PER_BATCH):
            yield partial(part.__getitem__, slice(first, first + writing.IMAGES_PER_BATCH))
