"""Layouts of images in a prepared file, by what is cheapest to read: packed bits, compressed colours, or geometry.

All are HDF5 (see `store`): `images` uint8 (N, 512), not chunked, of binary images packed to bits;
`images` uint8 (N, 64, 64, 3), one deflated chunk an image; or `geometry`, from which images are
rendered on demand. `classes` uint8 (N, k) are there only where the factors are no grid.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from larvae.datasets import damage, guarded_hdf5, store
from larvae.datasets.factors import FactorGrid
from larvae.datasets.guarded_hdf5 import GuardedArray, GuardedFile
from larvae.datasets.specification import Specification
from larvae.datasets.store import BYTES_PER_IMAGE, IMAGE_SIZE
from larvae.errors import InvalidInputError

_SLICE = 4096  # images read at a time where all are read
_SAMPLED_IMAGES = 480  # of a rendered data set: enough to notice another renderer


class ImageStore(Protocol):
    """Images by index, whatever holds them."""

    @property
    def fingerprint(self) -> str:
        """sha256 of what the file holds, uncompressed: equal for equal images, whatever file they came from."""

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images (n, channels, 64, 64) at the given indices."""

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Class indices (n, k) where the file holds them; NotImplementedError where they are a grid's."""


@dataclass(frozen=True, slots=True)
class PackedImages:
    """Binary images, memory-mapped and so shared by all processes of a node."""

    packed: NDArray[np.uint8]
    """Memory-mapped bytes (N, 512)."""
    fingerprint: str

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images (n, 1, 64, 64) in {0, 1} at the given indices."""
        return store.unpack(self.packed[indices])[:, None]

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        raise NotImplementedError("packed images hold no classes")


class CompressedImages:
    """Colour images, each deflated by itself. A process that was forked or sent this opens the file anew."""

    def __init__(self, path: Path, fingerprint: str, stored_classes: NDArray[np.uint8] | None) -> None:
        """stored_classes: uint8 (N, k), or None where the factors are a grid."""
        self.path, self.fingerprint, self.stored_classes = path, fingerprint, stored_classes
        self._chunks: Any = None
        self._process = 0

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images (n, 3, 64, 64) at the given indices."""
        if self._process != os.getpid():
            self._chunks, self._process = store.open_file(self.path)["images"].id, os.getpid()
        images = np.empty((len(indices), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        for image, index in zip(images, indices.tolist(), strict=True):
            # Past HDF5's filters, because zlib lets other threads run while it works.
            deflated = self._chunks.read_direct_chunk((index, 0, 0, 0))[1]
            try:
                image.reshape(-1)[:] = np.frombuffer(zlib.decompress(deflated), np.uint8)
            except (zlib.error, ValueError) as error:  # as of a disk: who opens the file anew finds it to be altered
                raise OSError(f"`{self.path}` must be whole, but image {index} is not: {error}") from None
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        if self.stored_classes is None:
            raise NotImplementedError(f"`{self.path}` holds no classes")
        return self.stored_classes[indices].astype(np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompressedImages, (self.path, self.fingerprint, self.stored_classes)


@dataclass(frozen=True, slots=True)
class RenderedImages:
    """Colour images that are rendered whenever they are asked for."""

    specification: Specification
    geometry: NDArray[np.uint8]
    """Memory-mapped table (combinations of shape, scale and orientation, 64, 64, properties of a pixel)."""
    fingerprint: str

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images (n, 3, 64, 64) at the given indices."""
        return _render(self.specification, indices, self.geometry)

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        raise NotImplementedError("rendered images hold no classes")


def open_images(path: Path, specification: Specification) -> ImageStore:
    """Open a prepared file; InvalidInputError unless it is a whole one of this data set."""
    header = store.read_header(path)
    _require_dataset(path, header, specification)
    with damage.told(store.whole_rule(path)), store.open_file(path) as file:
        if specification.render is not None:
            return RenderedImages(specification, _mapped(path, file["geometry"]), header.sha256)
        _require_images(path, file["images"], specification)
        if specification.channels == 1:
            return PackedImages(_mapped(path, file["images"]), header.sha256)
        stored = None if specification.has_independent_factors else file["classes"][:]
        return CompressedImages(path, header.sha256, stored)


def require_digest(path: Path, specification: Specification) -> None:
    """Read a prepared file from end to end; InvalidInputError unless its content has the digest that it names."""
    if found := fault(path, specification):
        raise InvalidInputError(f"{found}; delete it to prepare it again")


def fault(path: Path, specification: Specification) -> str:
    """Read a prepared file from end to end; the rule that its content breaks, and how, or an empty string."""
    try:
        with damage.told(f"`{path}` must be a whole prepared data set"), guarded_hdf5.opened(path) as file:
            header = store.header(file.attrs)
            _require_dataset(path, header, specification)
            if specification.render is None:
                _require_images(path, file["images"], specification)
            found = digest(file, specification)
    except InvalidInputError as error:
        return str(error)
    altered = f"`{path}` must have sha256 {header.sha256}, got {found}: it has been altered"
    return altered if found != header.sha256 else ""


def digest(file: h5py.File | GuardedFile, specification: Specification) -> str:
    """sha256 of the content of a prepared file: images, or geometry and a sample of images, then classes if any."""
    sha256 = hashlib.sha256()
    if "geometry" in file:
        sampled = np.linspace(0, specification.num_images - 1, _SAMPLED_IMAGES).astype(np.int64)
        sha256.update(file["geometry"][:])
        sha256.update(np.ascontiguousarray(_render(specification, sampled, file["geometry"][:])).data)
    else:
        for start in range(0, specification.num_images, _SLICE):
            sha256.update(file["images"][start : start + _SLICE])
    if "classes" in file:
        sha256.update(file["classes"][:])
    return sha256.hexdigest()


def _render(
    specification: Specification, indices: NDArray[np.integer], geometry: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    assert specification.render is not None
    assert isinstance(specification.factors, FactorGrid)
    return specification.render(specification.factors.classes(indices), geometry)


def _mapped(path: Path, dataset: h5py.Dataset) -> NDArray[np.uint8]:
    """A contiguous data set as pages of the file, which all processes of a node share."""
    return np.memmap(path, np.uint8, "r", dataset.id.get_offset(), dataset.shape)


def _require_dataset(path: Path, header: store.Header, specification: Specification) -> None:
    if (header.dataset, header.num_images) != (specification.name, specification.num_images):
        raise InvalidInputError(
            f"`{path}` must hold the {specification.num_images} images of {specification.name}, "
            f"got {header.num_images} of {header.dataset}"
        )


def _require_images(path: Path, images: h5py.Dataset | GuardedArray, specification: Specification) -> None:
    image = (BYTES_PER_IMAGE,) if specification.channels == 1 else (IMAGE_SIZE, IMAGE_SIZE, specification.channels)
    expected = (specification.num_images, *image)
    if images.shape != expected or images.dtype != np.uint8:
        raise InvalidInputError(f"`{path}` must hold uint8 {expected}, got {images.dtype} {images.shape}")
