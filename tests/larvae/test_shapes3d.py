"""3D Shapes from its published layout, how colour images are held, and the look-alike that is rendered."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import datasets
from larvae.datasets import Dataset, layouts, shapes3d, store, writing
from larvae.datasets.factors import FactorGrid
from larvae.errors import InvalidInputError
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    made = tiny_files.shapes3d(tmp_path)
    tiny_files.register(made, monkeypatch, tmp_path / "cache")
    return made


@pytest.fixture
def prepared(tiny: Tiny) -> Dataset:
    return datasets.open_dataset("shapes3d", datasets.prepare("shapes3d", tiny.source))


def channels_last(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.transpose(0, 2, 3, 1)


def rewrite(tiny: Tiny, images: NDArray[np.generic], labels: NDArray[np.generic], patch: pytest.MonkeyPatch) -> None:
    """Publish something else, with its own checksum."""
    tiny_files.write_shapes3d(tiny.source, images, labels)
    checksums = {".h5": ("sha256", tiny_files.sha256(tiny.source))}
    patch.setitem(datasets.SPECIFICATIONS, "shapes3d", replace(tiny.specification, checksums=checksums))


def read_labels(tiny: Tiny) -> NDArray[np.float64]:
    with store.open_file(tiny.source) as file:
        return file["labels"][:]


def test_prepared_file_holds_the_published_images(tiny: Tiny, prepared: Dataset) -> None:
    """Chunked by image and compressed; classes are those of the labels."""
    order, every = np.array([5, 0, 95, 5]), np.arange(prepared.num_images)
    images = prepared.images(order)
    assert (images.shape, images.dtype) == ((4, 3, 64, 64), np.uint8)
    assert np.array_equal(channels_last(images), tiny.images[order])
    assert prepared.maximum == 255
    assert prepared.fingerprint == hashlib.sha256(tiny.images.tobytes()).hexdigest()
    assert prepared.images(np.array([], np.int64)).shape == (0, 3, 64, 64)
    assert np.array_equal(prepared.classes(every), shapes3d.class_indices(read_labels(tiny)))
    with store.open_file(datasets.cached_path("shapes3d")) as file:
        assert np.array_equal(file["images"][:], tiny.images)
        assert (file["images"].chunks, file["images"].compression) == ((1, 64, 64, 3), "gzip")
        assert "classes" not in file


def test_real_slices_are_converted_across_chunks(tmp_path: Path) -> None:
    """More images than a slice, in chunks that divide neither a slice nor the images."""
    grid = FactorGrid(shapes3d.GRID.names, (2, 3, 5, 4, 2, 5))
    images = np.random.default_rng(0).integers(0, 256, (1200, 64, 64, 3), np.uint8)
    with h5py.File(tmp_path / "shapes.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(700, 8, 64, 3))
        file["labels"] = grid.classes(np.arange(1200)).astype(np.float64)
    known = replace(shapes3d.SPECIFICATION, factors=grid, num_images=1200)
    shapes3d.convert(known, tmp_path / "shapes.h5", tmp_path / "prepared.h5")
    opened = layouts.open_images(tmp_path / "prepared.h5", known)
    assert np.array_equal(channels_last(opened.images(np.arange(1200))), images)
    layouts.require_digest(tmp_path / "prepared.h5", known)


def test_files_of_another_kind_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    tiny.source.write_bytes(tiny.source.read_bytes() + b"\0")
    for path, rule in (
        (tmp_path / "images.npz", r"must end in .h5, got `[^\n]+images.npz`$"),
        (tmp_path / "missing.h5", r"must be readable, got [^\n]+$"),
        (tiny.source, r"^`[^\n]+` must have sha256 [^\n]+ not the published file$"),
    ):
        for check in (datasets.verify, datasets.prepare):
            with pytest.raises(InvalidInputError, match=rule):
                check("shapes3d", path)


def test_arrays_of_another_kind_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = tiny.images, read_labels(tiny)
    exchanged = labels.copy()
    exchanged[[3, 4]] = labels[[4, 3]]
    unlike = r"^`images` in [^\n]+ must be uint8 \(96, 64, 64, 3\), got [^\n]+$"
    for some_images, some_labels, rule in (
        (images[:-1], labels, unlike),
        (images[..., 0], labels, unlike),
        (images.astype(np.float32), labels, unlike),
        (images, labels[:, :5], r"`labels` in [^\n]+ must hold numbers \(96, 6\), got float64 \(96, 5\)$"),
        (images, exchanged, r"must follow the grid \(2, 2, 2, 2, 2, 3\), [^\n]+ in row 3$"),
    ):
        rewrite(tiny, some_images, some_labels, monkeypatch)
        with pytest.raises(InvalidInputError, match=rule):
            datasets.prepare("shapes3d", tiny.source)
        assert not datasets.cached_path("shapes3d").exists()
    for missing in ("images", "labels"):
        tiny_files.write_shapes3d(tiny.source, images, labels)
        with h5py.File(tiny.source, "r+", locking=False) as file:
            del file[missing]
        checksums = {".h5": ("sha256", tiny_files.sha256(tiny.source))}
        monkeypatch.setitem(datasets.SPECIFICATIONS, "shapes3d", replace(tiny.specification, checksums=checksums))
        with pytest.raises(InvalidInputError, match=rf"with `images` and `labels`, but: [^\n]+{missing}[^\n]+$"):
            datasets.prepare("shapes3d", tiny.source)


# How colour images are held


def test_other_processes_read_it_too(prepared: Dataset) -> None:
    """A forked process inherits the open file, another is sent the data set's name."""
    expected = prepared.images(np.arange(8))
    process = multiprocessing.get_context("fork").Process(target=read_in_child, args=(prepared.store, expected))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert np.array_equal(prepared.images(np.arange(8)), expected)
    content = pickle.dumps(prepared.store)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).images(np.arange(8)), expected)


def read_in_child(images: layouts.ImageStore, expected: NDArray[np.uint8]) -> None:
    assert np.array_equal(images.images(np.arange(8)), expected)


def test_altered_image_is_found(prepared: Dataset) -> None:
    path = datasets.cached_path("shapes3d")
    layouts.require_digest(path, prepared.specification)
    with h5py.File(path, "r+") as file:
        image = file["images"][7]
        image[0, 0, 0] ^= 1
        file["images"][7] = image
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+` must have sha256 [^\n]+ it has been altered[^\n]+$"):
        layouts.require_digest(path, prepared.specification)


def test_broken_conversion_leaves_nothing_and_reads_on_no_further(tmp_path: Path) -> None:
    begun: list[int] = []

    def batch(number: int) -> NDArray[np.uint8]:
        begun.append(number)
        if number == 3:
            raise KeyboardInterrupt
        return np.zeros((1, 64, 64, 3), np.uint8)

    known = replace(shapes3d.SPECIFICATION, num_images=1000)
    tasks = (partial(batch, number) for number in range(1000))
    with pytest.raises(KeyboardInterrupt):
        writing.write_colour(tmp_path / "images.h5", known, tasks, description="", progress=False)
    assert list(tmp_path.iterdir()) == []
    assert len(begun) < 50
