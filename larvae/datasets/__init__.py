"""Data sets: what members train on, whatever file the images come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larvae import streams
from larvae.config import DATASETS, require_known
from larvae.datasets import dsprites, published, store
from larvae.datasets.factors import FactorGrid
from larvae.datasets.store import PackedImages
from larvae.errors import InvalidInputError
from larvae.streams import Stream


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images and their factors."""

    name: str
    grid: FactorGrid
    store: PackedImages

    @property
    def num_images(self) -> int:
        return self.grid.num_images

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The images (n, channels, 64, 64) at the given indices."""
        return self.store.images(indices)[:, None]


def verify(name: str, data_file: Path | None = None) -> str | None:
    """Raise InvalidInputError unless the data set is known and a given file is the published one.

    Returns the file's digest.
    """
    require_known("dataset", name, DATASETS)
    return published.verify(data_file) if data_file is not None else None


def prepare(name: str, data_file: Path | None = None, *, progress: bool = False) -> Path:
    """Make the packed file of a data set in this node's cache, unless it is there; return its path.

    data_file: a published file to convert; without one the images are rendered.
    Raises InvalidInputError when the file is not a whole published one.
    """
    digest = verify(name, data_file)
    if data_file is None or digest is None:
        return dsprites.prepare(progress=progress)
    path = cached_path(name, digest)
    return store.made_once(
        path, lambda: published.convert(data_file, path, dsprites.GRID.num_images, progress=progress)
    )


def cached_path(name: str, digest: str) -> Path:
    """Where the cache keeps the packed images of a published file with this digest."""
    return store.cache_directory() / f"{name}-{digest[:12]}.npy"


def install(file_name: str, fetch: Callable[[], NDArray[np.uint8]]) -> Path:
    """Put packed images (n, 512) from elsewhere into this node's cache, unless they are there; return the path."""
    path = store.cache_directory() / file_name

    def write() -> None:
        images = fetch()
        with store.writing(path, len(images)) as packed:
            packed[:] = images

    return store.made_once(path, write)


def open_dataset(name: str, path: Path) -> Dataset:
    """Memory-map a packed file that `prepare` made."""
    return Dataset(name, dsprites.GRID, store.open_packed(path, dsprites.GRID.num_images))


def labelled_indices(num_images: int, label_rate: float, seed: int) -> NDArray[np.int64]:
    """The images whose labels are known: the first η·N of a permutation drawn from the seed.

    So all members of a seed share it, and a larger label rate keeps the smaller one's images.
    Raises InvalidInputError when no image is left.
    """
    count = round(label_rate * num_images)
    if count == 0:
        raise InvalidInputError(
            f"`label_rate` must leave a labelled image: at least {1 / num_images:.2g}, got {label_rate}"
        )
    return streams.generator(seed, Stream.LABELLED_SET).permutation(num_images)[:count]
