"""Writes prepared files: fills them from several threads, in bounded memory, and digests what they hold."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from larvae.datasets import store
from larvae.datasets.layouts import digest
from larvae.datasets.specification import Specification
from larvae.datasets.store import BYTES_PER_IMAGE, IMAGE_SIZE
from larvae.progress_bar import progress_bar

IMAGES_PER_BATCH = 128
"""Images that one thread decodes and compresses at a time: 1.5 MiB."""

_COMPRESSION_LEVEL = 6

Result = TypeVar("Result")


def num_threads() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def writing_packed(path: Path, specification: Specification) -> Iterator[NDArray[np.uint8]]:
    """Yield an array (N, 512) to fill, in slices and from any thread; it appears at `path` only when whole."""
    with store.writing(path, specification) as file:
        yield file.create_dataset("images", (specification.num_images, BYTES_PER_IMAGE), np.uint8)
        file.attrs["sha256"] = digest(file, specification)


def write_geometry(path: Path, specification: Specification, geometry: NDArray[np.uint8]) -> None:
    """Write the table from which a data set's images are rendered."""
    with store.writing(path, specification) as file:
        file.create_dataset("geometry", data=geometry)
        file.attrs["sha256"] = digest(file, specification)


def write_colour(
    path: Path,
    specification: Specification,
    batches: Iterable[Callable[[], NDArray[np.uint8]]],
    *,
    classes: NDArray[np.uint8] | None = None,
    description: str,
    progress: bool,
) -> None:
    """Compress images in the order of their batches.

    batches: called on several threads, each gives the next images, uint8 (n, 64, 64, 3).
    classes: uint8 (N, k), where the factors are no grid.
    """
    image_shape = (IMAGE_SIZE, IMAGE_SIZE, specification.channels)
    sha256, position = hashlib.sha256(), 0
    with (
        store.writing(path, specification) as file,
        progress_bar(specification.num_images, description, shown=progress) as advance,
    ):
        images = file.create_dataset(
            "images",
            (specification.num_images, *image_shape),
            np.uint8,
            chunks=(1, *image_shape),
            compression="gzip",
            compression_opts=_COMPRESSION_LEVEL,
        )
        for batch, deflated in in_order(_compressed(batches)):
            sha256.update(batch.data)
            for chunk in deflated:
                images.id.write_direct_chunk((position, 0, 0, 0), chunk)
                position += 1
            advance(len(deflated))
        assert position == specification.num_images
        if classes is not None:
            file.create_dataset("classes", data=classes)
            sha256.update(np.ascontiguousarray(classes).data)
        file.attrs["sha256"] = sha256.hexdigest()


def in_order(tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Results of tasks that run on all CPUs, in the tasks' order; only a few are held at a time."""
    waiting: deque[Future[Result]] = deque()
    workers = num_threads()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after an error, do not begin what nobody will read
                future.cancel()


def _compressed(
    batches: Iterable[Callable[[], NDArray[np.uint8]]],
) -> Iterator[Callable[[], tuple[NDArray[np.uint8], list[bytes]]]]:
    """Each batch's task, followed by its compression on the same thread."""
    return (partial(_compress, batch) for batch in batches)


def _compress(batch: Callable[[], NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], list[bytes]]:
    images = np.ascontiguousarray(batch())
    return images, [zlib.compress(image.data, _COMPRESSION_LEVEL) for image in images]
