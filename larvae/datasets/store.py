"""Binary images packed to bits in one file, memory-mapped and so shared by all processes of a node."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock
from numpy.typing import NDArray

from larvae.errors import InvalidInputError

IMAGE_SIZE = 64
BYTES_PER_IMAGE = IMAGE_SIZE * IMAGE_SIZE // 8


def cache_directory() -> Path:
    """Where prepared data sets live: `$LARVAE_CACHE_DIR`, or the user's cache directory."""
    return Path(os.environ.get("LARVAE_CACHE_DIR") or platformdirs.user_cache_dir("larvae"))


def pack(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, 64, 64) in {0, 1} to bytes (n, 512), eight pixels a byte."""
    return np.packbits(images.reshape(len(images), -1), axis=1)


def unpack(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `pack`: bytes (n, 512) to images (n, 64, 64) in {0, 1}."""
    return np.unpackbits(packed, axis=1).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


@dataclass(frozen=True, slots=True)
class PackedImages:
    """A whole, verified file of packed images."""

    packed: NDArray[np.uint8]
    """Memory-mapped bytes (n, 512)."""
    fingerprint: str
    """sha256 of the packed bytes: equal for equal images, whatever file they came from."""

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images (n, 64, 64) in {0, 1} at the given indices."""
        return unpack(self.packed[indices])


def open_packed(path: Path, num_images: int) -> PackedImages:
    """Memory-map a file written by `writing`; InvalidInputError if it is not whole."""
    try:
        packed = np.load(path, mmap_mode="r", allow_pickle=False)
        fingerprint = json.loads(_sidecar(path).read_text())["sha256"]
        shape, dtype = packed.shape, packed.dtype
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"`{path}` must be a whole packed data set, but: {error}; delete it to prepare it again"
        ) from None
    if shape != (num_images, BYTES_PER_IMAGE) or dtype != np.uint8:
        raise InvalidInputError(f"`{path}` must hold uint8 {(num_images, BYTES_PER_IMAGE)}, got {dtype} {shape}")
    return PackedImages(packed, fingerprint)


@contextlib.contextmanager
def writing(path: Path, num_images: int) -> Iterator[NDArray[np.uint8]]:
    """Yield an array (n, 512) to fill; it appears at `path` only when whole, or not at all."""
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(num_images, BYTES_PER_IMAGE))
        yield array
        array.flush()
        _sidecar(path).write_text(json.dumps({"sha256": hashlib.sha256(array.data).hexdigest()}))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def made_once(path: Path, make: Callable[[], object]) -> Path:
    """Have one process of a node make the file at `path`, unless it is there; the others wait. Returns the path."""
    with locked(path):
        if not path.exists():
            make()
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file at `path` against the other processes of a node."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")
