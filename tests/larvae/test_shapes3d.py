"""3D Shapes from its published layout, how colour images are held, and the look-alike that is rendered."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import datasets
from larvae.datasets import Dataset, layouts, shapes3d, shapes3d_rendered, store, writing
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


def test_real_grid_is_the_published_one() -> None:
    known = shapes3d.SPECIFICATION
    assert known.num_images == 480_000
    assert known.factors.sizes == (10, 10, 10, 8, 4, 15)
    assert known.download_bytes == 267_573_662
    assert {name: len(values) for name, values in known.factors.values.items()} == dict(
        zip(known.factors.names, known.factors.sizes, strict=True)
    )
    assert known.factors.value_name("scale", 7) == "1.25"
    assert known.factors.value_name("orientation", 0) == "-30°"


def test_prepared_file_holds_the_published_images(tiny: Tiny, prepared: Dataset) -> None:
    order = np.array([5, 0, 95, 5])
    images = prepared.images(order)
    assert (images.shape, images.dtype) == ((4, 3, 64, 64), np.uint8)
    assert np.array_equal(channels_last(images), tiny.images[order])
    assert prepared.maximum == 255
    assert prepared.fingerprint == hashlib.sha256(tiny.images.tobytes()).hexdigest()
    assert prepared.images(np.array([], np.int64)).shape == (0, 3, 64, 64)


def test_classes_are_those_of_the_labels(tiny: Tiny, prepared: Dataset) -> None:
    every = np.arange(prepared.num_images)
    assert np.array_equal(prepared.classes(every), shapes3d.class_indices(read_labels(tiny)))


def test_real_slices_are_converted_across_chunks(tmp_path: Path) -> None:
    """More images than a slice, in chunks that divide neither a slice nor the images."""
    grid = FactorGrid(shapes3d.GRID.names, (2, 3, 5, 4, 2, 10))
    images = np.random.default_rng(0).integers(0, 256, (2400, 64, 64, 3), np.uint8)
    with h5py.File(tmp_path / "shapes.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(700, 8, 64, 3), compression=1)
        file["labels"] = grid.classes(np.arange(2400)).astype(np.float64)
    known = replace(shapes3d.SPECIFICATION, factors=grid, num_images=2400)
    shapes3d.convert(known, tmp_path / "shapes.h5", tmp_path / "prepared.h5")
    opened = layouts.open_images(tmp_path / "prepared.h5", known)
    assert np.array_equal(channels_last(opened.images(np.arange(2400))), images)
    layouts.require_whole(tmp_path / "prepared.h5", known)


def test_unpublished_file_is_refused(tiny: Tiny) -> None:
    tiny.source.write_bytes(tiny.source.read_bytes() + b"\0")
    for check in (datasets.verify, datasets.prepare):
        with pytest.raises(InvalidInputError, match=r"^`[^\n]+` must have sha256 [^\n]+ not the published file$"):
            check("shapes3d", tiny.source)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("images.npz", r"must end in .h5, got `[^\n]+images.npz`$"), ("missing.h5", "must be readable, got [^\n]+$")],
)
def test_file_of_another_kind_is_refused(tiny: Tiny, tmp_path: Path, name: str, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=rule):
        datasets.verify("shapes3d", tmp_path / name)


def test_labels_in_another_order_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = read_labels(tiny)
    labels[[3, 4]] = labels[[4, 3]]
    rewrite(tiny, tiny.images, labels, monkeypatch)
    with pytest.raises(InvalidInputError, match=r"must follow the grid \(2, 2, 2, 2, 2, 3\), [^\n]+ in row 3$"):
        datasets.prepare("shapes3d", tiny.source)
    assert not datasets.cached_path("shapes3d").exists()


def test_labels_of_too_few_factors_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(tiny, tiny.images, read_labels(tiny)[:, :5], monkeypatch)
    with pytest.raises(InvalidInputError, match=r"`labels` in [^\n]+ must have shape \(96, 6\), got \(96, 5\)$"):
        datasets.prepare("shapes3d", tiny.source)


@pytest.mark.parametrize("kind", ["few", "grey", "floats"])
def test_images_of_another_kind_are_refused(tiny: Tiny, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {
        "few": tiny.images[:-1],
        "grey": tiny.images[..., 0],
        "floats": tiny.images.astype(np.float32),
    }[kind]
    rewrite(tiny, images, read_labels(tiny), monkeypatch)
    with pytest.raises(InvalidInputError, match=r"^`images` in [^\n]+ must be uint8 \(96, 64, 64, 3\), got [^\n]+$"):
        datasets.prepare("shapes3d", tiny.source)


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_missing_array_is_named(tiny: Tiny, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tiny.source, "r+", locking=False) as file:
        del file[missing]
    checksums = {".h5": ("sha256", tiny_files.sha256(tiny.source))}
    monkeypatch.setitem(datasets.SPECIFICATIONS, "shapes3d", replace(tiny.specification, checksums=checksums))
    with pytest.raises(InvalidInputError, match=rf"with `images` and `labels`, but: [^\n]+{missing}[^\n]+$"):
        datasets.prepare("shapes3d", tiny.source)


# How colour images are held


def test_file_is_chunked_by_image_and_compressed(prepared: Dataset) -> None:
    with store.open_file(datasets.cached_path("shapes3d")) as file:
        assert file["images"].shape == (96, 64, 64, 3)
        assert file["images"].chunks == (1, 64, 64, 3)
        assert file["images"].compression == "gzip"
        assert file.attrs["maximum"] == 255
        assert "classes" not in file


def test_images_are_those_that_hdf5_itself_reads(tiny: Tiny, prepared: Dataset) -> None:
    with store.open_file(datasets.cached_path("shapes3d")) as file:
        assert np.array_equal(file["images"][:], tiny.images)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it_too(prepared: Dataset, method: str) -> None:
    """A forked process inherits the open file, a spawned one is sent the data set."""
    expected = prepared.images(np.arange(8))
    process = multiprocessing.get_context(method).Process(target=read_in_child, args=(prepared.store, expected))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert np.array_equal(prepared.images(np.arange(8)), expected)


def read_in_child(images: layouts.ImageStore, expected: NDArray[np.uint8]) -> None:
    assert np.array_equal(images.images(np.arange(8)), expected)


def test_pickled_store_is_a_name_and_reads_the_same(prepared: Dataset) -> None:
    prepared.images(np.arange(2))
    content = pickle.dumps(prepared.store)
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).images(np.arange(9)), prepared.images(np.arange(9)))


def test_threads_read_it_at_once(tiny: Tiny, prepared: Dataset) -> None:
    orders = [np.random.default_rng(seed).integers(0, 96, 50) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for order, images in zip(orders, pool.map(prepared.images, orders), strict=True):
            assert np.array_equal(channels_last(images), tiny.images[order])


def test_altered_image_is_found(prepared: Dataset) -> None:
    path = datasets.cached_path("shapes3d")
    layouts.require_whole(path, prepared.specification)
    with h5py.File(path, "r+") as file:
        image = file["images"][7]
        image[0, 0, 0] ^= 1
        file["images"][7] = image
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+` must have sha256 [^\n]+ it has been altered[^\n]+$"):
        layouts.require_whole(path, prepared.specification)


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


def test_tasks_keep_their_order_and_only_a_few_wait() -> None:
    waiting = most = 0

    def tasks() -> Iterator[Callable[[], int]]:
        nonlocal waiting, most
        for number in range(200):
            waiting += 1
            most = max(most, waiting)
            yield partial(int, number)

    results = []
    for result in writing.in_order(tasks()):
        waiting -= 1
        results.append(result)
    assert results == list(range(200))
    assert most <= 2 * writing.num_threads() + 1


# The look-alike


def test_look_alike_has_the_grid_of_the_real_one() -> None:
    known = shapes3d.RENDERED_SPECIFICATION
    assert known.factors is shapes3d.GRID
    assert (known.factors.names, known.factors.sizes) == (shapes3d_rendered.GRID.names, shapes3d_rendered.GRID.sizes)
    assert known.is_rendered
    assert "not 3D Shapes" in known.title


@pytest.fixture(scope="module")
def look_alike(cache_directory: Path) -> Dataset:
    return datasets.open_dataset("shapes3d-rendered", datasets.prepare("shapes3d-rendered"))


def test_look_alike_is_rendered_from_the_file(look_alike: Dataset) -> None:
    indices = np.array([0, 479_999, 12_345])
    assert isinstance(look_alike.store, layouts.RenderedImages)
    images = shapes3d_rendered.render(shapes3d.GRID.classes(indices), look_alike.store.geometry)
    assert images.shape == (3, 3, 64, 64)
    assert np.array_equal(look_alike.images(indices), images)
    assert look_alike.maximum == 255
    assert look_alike.num_images == 480_000


def test_look_alike_is_small_shared_and_whole(look_alike: Dataset) -> None:
    path = datasets.cached_path("shapes3d-rendered")
    assert path.name == "shapes3d-rendered.h5"
    assert path.stat().st_size < 20e6
    assert isinstance(look_alike.store, layouts.RenderedImages)
    assert isinstance(look_alike.store.geometry, np.memmap)
    layouts.require_whole(path, look_alike.specification)


def test_look_alike_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"^`data_file` must be left out with shapes3d-rendered, [^\n]+$"):
        datasets.verify("shapes3d-rendered", tmp_path / "3dshapes.h5")
