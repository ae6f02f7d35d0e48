"""Isaac3D (Nie et al., 2020): reads the published folder of images of 128×128 pixels.

Its page lists the factors in another order than its images have; that of its demonstration script is right.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import damage, photographs, writing
from larvae.datasets.factors import FactorGrid
from larvae.datasets.specification import Specification
from larvae.errors import InvalidInputError

GRID = FactorGrid(
    names=(
        "object_shape",
        "robot_x",
        "robot_y",
        "camera_height",
        "object_scale",
        "lighting_intensity",
        "lighting_y_dir",
        "object_color",
        "wall_color",
    ),
    sizes=(3, 8, 5, 4, 4, 4, 6, 4, 4),
)

SPECIFICATION = Specification(
    name="isaac3d",
    label="Isaac3D",
    title="a robot arm in a kitchen (Nie et al., 2020), 128×128 brought to 64×64",
    factors=GRID,
    num_images=GRID.num_images,
    channels=3,
    takes="the folder Isaac3D_down128 (13 GB: images/000000.png … and labels.npy)",
    home="https://github.com/NVlabs/High-res-disentanglement-datasets",
)

_FOLDER = "Isaac3D_down128"
_IMAGE_SIZE = (128, 128)
_TOLERANCE = 0.1  # how far a label may lie from a class, in classes


def verify(specification: Specification, path: Path) -> str:
    """Check that a folder is, or holds, the published one, and its labels fit; return the labels' sha256.

    Raises InvalidInputError when something is missing. Not all images are looked at.
    """
    folder = _folder(path)
    _positions(specification, folder)
    for index in (0, specification.num_images - 1):
        if not (image := folder / "images" / _name(index)).is_file():
            raise InvalidInputError(f"Isaac3D must have {specification.num_images} images, got no `{image}`")
    return hashlib.sha256((folder / "labels.npy").read_bytes()).hexdigest()


def convert(specification: Specification, path: Path, target: Path, *, progress: bool = False) -> None:
    """Write the images of a verified folder to the prepared file `target`, in the order of the factor grid.

    Raises InvalidInputError, naming the first image that is missing or broken.
    """
    folder = _folder(path)
    names = [_name(position) for position in _positions(specification, folder).tolist()]
    writing.write_colour(
        target,
        specification,
        photographs.batches(photographs.read_folder(folder / "images"), names, _IMAGE_SIZE),
        description="converting Isaac3D",
        progress=progress,
    )


def _name(index: int) -> str:
    return f"{index:06d}.png"


def _folder(path: Path) -> Path:
    for folder in (path, path / _FOLDER):
        if (folder / "labels.npy").is_file():
            return folder
    raise InvalidInputError(f"the source of Isaac3D must be {SPECIFICATION.takes}, got `{path}`")


def _positions(specification: Specification, folder: Path) -> NDArray[np.int64]:
    """The position of the published image of each combination of the factor grid, (N,)."""
    grid, path = specification.factors, folder / "labels.npy"
    assert isinstance(grid, FactorGrid)
    with damage.told(f"`{path}` must be a NumPy array of numbers"), path.open("rb") as file:
        labels = np.lib.format.read_array(file, allow_pickle=False)
    expected = (specification.num_images, grid.num_factors)
    if labels.shape != expected or labels.dtype.kind not in "fiu":
        raise InvalidInputError(f"`{path}` must hold numbers {expected}, got {labels.dtype} {labels.shape}")
    with np.errstate(all="ignore"):
        positions = labels * (np.array(grid.sizes) - 1)
        classes = np.rint(positions)
        fits = (np.abs(positions - classes) <= _TOLERANCE) & (classes >= 0) & (classes < grid.sizes)  # False for NaN
    if wrong := np.flatnonzero(~fits.all(axis=1)).tolist():
        raise InvalidInputError(
            f"`{path}` must hold class indices of sizes {grid.sizes} scaled to [0, 1], "
            f"got {labels[wrong[0]].tolist()} in row {wrong[0]}"
        )
    indices = grid.indices(classes.astype(np.int64))
    if len(np.unique(indices)) < len(indices):
        raise InvalidInputError(f"`{path}` must hold each combination of factors once, got some twice")
    return np.argsort(indices)
