"""Reads the published dSprites files, `.npz` and HDF5, in slices and without unpickling anything."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import damage, guarded_hdf5, store, writing
from larvae.datasets.checksums import require_published
from larvae.datasets.specification import Specification
from larvae.datasets.store import IMAGE_SIZE
from larvae.errors import InvalidInputError
from larvae.progress_bar import progress_bar

_SLICE = 4096  # images read at a time: 16 MiB


verify = require_published


def convert(specification: Specification, path: Path, target: Path, *, progress: bool = False) -> None:
    """Pack the images of a verified file into `target`.

    Raises InvalidInputError unless `imgs` is uint8 (num_images, 64, 64) in {0, 1}.
    """
    num_images = specification.num_images
    slices = _npz_slices if path.suffix == ".npz" else _hdf5_slices
    with (
        writing.writing_packed(target, specification) as packed,
        progress_bar(num_images, f"packing {path.name}", shown=progress) as advance,
    ):
        start = 0
        for images in slices(path, num_images):
            packed[start : start + len(images)] = store.pack(_require_binary(images, path))
            start += len(images)
            advance(len(images))


def _reading(path: Path) -> AbstractContextManager[None]:
    return damage.told(f"`{path}` must be a whole dSprites file with an array `imgs`")


def _hdf5_slices(path: Path, num_images: int) -> Iterator[NDArray[np.uint8]]:
    with _reading(path), guarded_hdf5.opened(path) as file:
        images = file["imgs"]
        _require_layout(path, images.shape, images.dtype, num_images)
        for start in range(0, num_images, _SLICE):
            yield images[start : start + _SLICE]


def _npz_slices(path: Path, num_images: int) -> Iterator[NDArray[np.uint8]]:
    with _reading(path), zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as file:
        shape, fortran_order, dtype = _npy_header(path, file)
        _require_layout(path, shape, dtype, num_images)
        if fortran_order:
            raise InvalidInputError(f"`imgs` in `{path}` must be in C order, got Fortran order")
        for start in range(0, num_images, _SLICE):
            count = min(_SLICE, num_images - start)
            data = file.read(count * IMAGE_SIZE * IMAGE_SIZE)
            if len(data) < count * IMAGE_SIZE * IMAGE_SIZE:
                raise EOFError(f"it ends within image {start + len(data) // IMAGE_SIZE**2}")
            yield np.frombuffer(data, np.uint8).reshape(count, IMAGE_SIZE, IMAGE_SIZE)


def _npy_header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with damage.told(f"`imgs` in `{path}` must be a NumPy array"):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)


def _require_layout(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], num_images: int) -> None:
    expected = (num_images, IMAGE_SIZE, IMAGE_SIZE)
    if tuple(shape) != expected or dtype != np.uint8:
        raise InvalidInputError(f"`imgs` in `{path}` must be uint8 {expected}, got {dtype} {tuple(shape)}")


def _require_binary(images: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    if images.max(initial=0) > 1:
        raise InvalidInputError(f"`imgs` in `{path}` must lie in {{0, 1}}, got {images.max()}")
    return images
