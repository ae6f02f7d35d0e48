"""Files of the cache: each is made once a node, whole or not at all, and says what it holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import platformdirs
from numpy.typing import NDArray

from larvae import files
from larvae.datasets import damage
from larvae.datasets.specification import Specification
from larvae.datasets.written_file import WrittenFile
from larvae.errors import InvalidInputError

IMAGE_SIZE = 64
BYTES_PER_IMAGE = IMAGE_SIZE * IMAGE_SIZE // 8
FORMAT = 2
"""Format of prepared files: another layout, or other pixels of a rendered data set, need another number."""


def cache_directory() -> Path:
    """The folder of prepared data sets: `$LARVAE_CACHE_DIR`, or the user's cache directory.

    Raises InvalidInputError for a relative one: each process would have its own, as trials have folders of their own.
    """
    folder = Path(os.environ.get("LARVAE_CACHE_DIR") or platformdirs.user_cache_dir("larvae"))
    if not folder.is_absolute():
        raise InvalidInputError(f"`LARVAE_CACHE_DIR` must be an absolute path, got `{folder}`")
    return folder


def pack(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, 64, 64) in {0, 1} to bytes (n, 512), eight pixels a byte."""
    return np.packbits(images.reshape(len(images), -1), axis=1)


def unpack(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `pack`: bytes (n, 512) to images (n, 64, 64) in {0, 1}."""
    return np.unpackbits(packed, axis=1).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """A prepared file's description of itself, in its attributes."""

    dataset: str
    num_images: int
    sha256: str
    """Digest of what the file holds, before compression: equal for equal images, whatever file they came from."""


def header(attributes: Mapping[str, Any]) -> Header:
    """A prepared file's description of itself; LookupError, TypeError or ValueError unless these attributes are one."""
    if missing := [name for name in ("format", "dataset", "num_images", "sha256") if name not in attributes]:
        raise LookupError(f"it does not tell its {missing[0]}")
    if attributes["format"] != FORMAT:
        raise LookupError(f"its format is {attributes['format']}, not {FORMAT}")
    return Header(
        dataset=str(attributes["dataset"]),
        num_images=int(attributes["num_images"]),
        sha256=str(attributes["sha256"]),
    )


def read_header(path: Path) -> Header:
    """Read a prepared file's description of itself; InvalidInputError unless it is one, and whole."""
    with damage.told(whole_rule(path)), open_file(path) as file:
        return header(file.attrs)


def whole_rule(path: Path) -> str:
    """The rule that a file which `writing` has not written, or not as it is now, breaks."""
    return f"`{path}` must be a whole prepared data set (delete it to prepare it again)"


def open_file(path: Path) -> h5py.File:
    """Open a whole HDF5 file to read. Those prepared never change, so no lock is taken: network file systems lack them.

    One that may be damaged is opened by `guarded_hdf5`.
    """
    return h5py.File(path, "r", locking=False)


@contextlib.contextmanager
def writing(path: Path, specification: Specification) -> Iterator[h5py.File]:
    """Yield an HDF5 file to fill with all but `sha256`; it appears at `path` only when whole, or not at all.

    The caller must set the attribute `sha256` before the block ends.
    """
    with advised(path), files.appearing(path) as partial:
        # The format of HDF5 1.10: chunks are found in constant time, and files are read by all libraries since.
        with (
            WrittenFile(partial, "w+b") as written,
            h5py.File(written, "w", libver=("v110", "v110")) as file,
            written.given_up_on_errors(),
        ):
            file.attrs["format"] = FORMAT
            file.attrs["dataset"] = specification.name
            file.attrs["num_images"] = specification.num_images
            file.attrs["maximum"] = specification.maximum
            if specification.crop is not None:
                file.attrs["crop"] = specification.crop
            yield file
            file.flush()  # a full disk is noticed here, not while the file is closed
        read_header(partial)


@contextlib.contextmanager
def advised(path: Path) -> Iterator[None]:
    """Within this a file of the cache is written, all else that fails being InvalidInputError: OSError with advice."""
    try:
        yield
    except OSError as error:
        advice = "give LARVAE_CACHE_DIR a folder that can be, with room for it"
        raise OSError(f"`{path}` cannot be written: {damage.reason(error)}; {advice}") from error


def locked(path: Path) -> AbstractContextManager[None]:
    """Hold the file at `path` against the other processes of a node, which wait."""
    return files.locked(path.with_name(f"{path.name}.lock"), waits=True)
