"""Prepared files of binary images and the published files they are made from, and which images are labelled."""

from __future__ import annotations

import hashlib
import io
import platform
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import datasets, files
from larvae.datasets import dsprites, integrity, labelled_indices, layouts, store, writing
from larvae.datasets import dsprites_published as published
from larvae.datasets.layouts import PackedImages
from larvae.datasets.specification import Specification
from larvae.errors import InvalidInputError

NUM_IMAGES = 5
CHECKSUMS = dsprites.SPECIFICATION.checksums
ONE_LINE = r"^[^\n]+$"
"""Form of every message to the user."""


def specification(count: int = NUM_IMAGES) -> Specification:
    """dSprites with fewer images."""
    return replace(dsprites.SPECIFICATION, num_images=count)


def open_packed(path: Path, count: int = NUM_IMAGES) -> PackedImages:
    opened = layouts.open_images(path, specification(count))
    assert isinstance(opened, PackedImages)
    return opened


def random_images(count: int = NUM_IMAGES) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 2, (count, 64, 64), np.uint8)


def write_npz(path: Path, images: NDArray[np.generic], name: str = "imgs") -> None:
    """The published layout, with the pickled metadata that must never be unpickled."""
    metadata = np.array({"author": "someone"}, dtype=object)
    arrays = {name: images, "latents_classes": np.zeros((len(images), 6), np.int64), "metadata": metadata}
    np.savez_compressed(path, **arrays)


def write_hdf5(path: Path, images: NDArray[np.generic], name: str = "imgs") -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=images, compression="gzip")
        file["latents/classes"] = np.zeros((len(images), 6), np.int64)


WRITERS: dict[str, Callable[..., None]] = {"images.npz": write_npz, "images.hdf5": write_hdf5, "images.h5": write_hdf5}
each_format = pytest.mark.parametrize("name", ["images.npz", "images.hdf5"])


def make_packed(path: Path, count: int = NUM_IMAGES) -> None:
    with writing.writing_packed(path, specification(count)) as packed:
        packed[:] = store.pack(random_images(count))


def assert_nothing_left(directory: Path, *expected: str) -> None:
    assert sorted(path.name for path in directory.iterdir()) == sorted(expected)


def assert_conversion_refused(path: Path, rule: str = ONE_LINE, count: int = NUM_IMAGES) -> None:
    """In a line, and nothing is left."""
    with pytest.raises(InvalidInputError, match=rule):
        published.convert(specification(count), path, path.with_name("packed.h5"))
    assert_nothing_left(path.parent, path.name)


# Prepared files


def test_written_file_opens_with_its_images_at_an_eighth_of_their_size(tmp_path: Path) -> None:
    images, path, order = random_images(), tmp_path / "images.h5", np.array([3, 0, 3])
    with writing.writing_packed(path, specification()) as packed:
        packed[:] = store.pack(images)
        assert not path.exists()
    assert np.array_equal(store.unpack(store.pack(images)), images)
    opened = open_packed(path)
    assert np.array_equal(opened.images(order)[:, 0], images[order])
    assert isinstance(opened.packed, np.memmap)
    assert opened.fingerprint == hashlib.sha256(store.pack(images).tobytes()).hexdigest()
    with store.open_file(path) as file:
        expected = {"format": store.FORMAT, "dataset": "dsprites", "num_images": NUM_IMAGES, "maximum": 1}
        assert dict(file.attrs) == expected | {"sha256": opened.fingerprint}
        assert (file["images"].shape, file["images"].chunks) == ((NUM_IMAGES, 512), None)


def test_interrupted_writing_leaves_nothing_and_a_killed_process_s_leavings_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images.h5"

    def write_in_part() -> None:
        with writing.writing_packed(path, specification()) as packed:
            packed[0] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_in_part()
    assert_nothing_left(tmp_path)
    make_packed(tmp_path / f".images.h5.partial-{platform.node()}-{2**30}")
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path))
    integrity.made_once(path, specification(), lambda: make_packed(path))
    assert_nothing_left(tmp_path, "images.h5", "images.h5.checked", "images.h5.lock")


def rewritten(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def replace_images(file: h5py.File, content: NDArray[np.generic] | None) -> None:
    del file["images"]
    if content is None:
        file.create_group("images")
    else:
        file["images"] = content


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "truncated within the header": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("this is no data set"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "missing": lambda path: path.unlink(),
    "no attributes": rewritten(lambda file: file.attrs.clear()),
    "floats": rewritten(lambda file: replace_images(file, np.zeros((NUM_IMAGES, 512), np.float32))),
    "group": rewritten(lambda file: replace_images(file, None)),
    "no images": rewritten(lambda file: file.pop("images")),
    "no fingerprint": rewritten(lambda file: file.attrs.pop("sha256")),
    "a word for a number": rewritten(lambda file: file.attrs.update(num_images="many")),
    "another layout": rewritten(lambda file: file.attrs.update(format="larvae 2")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_prepared_file_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "images.h5"
    make_packed(path)
    damage(path)
    with pytest.raises(InvalidInputError, match=ONE_LINE) as caught:
        open_packed(path)
    assert str(path) in str(caught.value)


def test_prepared_file_of_another_data_set_or_with_an_altered_pixel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.h5"
    make_packed(path)
    for known, rule in (
        (specification(3), r"must hold the 3 images of dsprites, got 5 of dsprites$"),
        (replace(specification(), name="celeba"), r"must hold the 5 images of celeba, got 5 of dsprites$"),
    ):
        with pytest.raises(InvalidInputError, match=rule):
            layouts.open_images(path, known)
    layouts.require_digest(path, specification())
    with h5py.File(path, "r+") as file:
        file["images"][2, 100] ^= 1
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+` must have sha256 [^\n]+ delete it to prepare it again$"):
        layouts.require_digest(path, specification())


def test_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "not yet there" / "images.h5"
    with store.locked(path), pytest.raises(files.HeldError), files.locked(Path(f"{path}.lock"), waits=False):
        pass
    with store.locked(path):
        assert path.parent.is_dir()


# Published files


def test_converted_file_holds_the_published_images(tmp_path: Path) -> None:
    """More than a slice of them; the fingerprint does not depend on the format."""
    images, fingerprints = np.resize(random_images(), (4096 + 3, 64, 64)), set()
    for name, write in WRITERS.items():
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        write(folder / name, images)
        published.convert(specification(len(images)), folder / name, folder / "packed.h5")
        opened = open_packed(folder / "packed.h5", len(images))
        assert np.array_equal(opened.packed, store.pack(images))
        fingerprints.add(opened.fingerprint)
        assert_nothing_left(folder, name, "packed.h5")
    assert len(fingerprints) == 1


@each_format
def test_unsuitable_images_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    images = random_images()
    two_in_one_pixel = images.copy()
    two_in_one_pixel[-1, -1, -1] = 2
    for unsuitable in (
        random_images(3),
        images[:, :32],
        images.reshape(NUM_IMAGES, -1),
        images.astype(np.int64),
        images.astype(bool),
        images * np.uint8(255),
        two_in_one_pixel,
    ):
        WRITERS[name](tmp_path / name, unsuitable)
        assert_conversion_refused(tmp_path / name, r"^`imgs` in `[^\n]+` must [^\n]+, got [^\n]+$")
    WRITERS[name](tmp_path / name, images, "pictures")
    assert_conversion_refused(tmp_path / name, r"^[^\n]*with an array `imgs`, but: [^\n]*imgs[^\n]*$")
    if name.endswith(".npz"):
        write_npz(tmp_path / name, np.asfortranarray(images))  # not scrambled either
        assert_conversion_refused(tmp_path / name, r"must be in C order, got Fortran order$")


@each_format
def test_truncated_or_altered_published_file_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, random_images(200))
    whole = path.read_bytes()
    half = len(whole) // 2
    for kept in (0.0, 0.02, 0.5, 0.98):
        path.write_bytes(whole[: int(kept * len(whole))])
        assert_conversion_refused(path, count=200)
    for byte in (b"\x00", b"\xff"):
        path.write_bytes(whole[:half] + 64 * byte + whole[half + 64 :])
        assert_conversion_refused(path, count=200)


def test_broken_archives_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    path, array = tmp_path / "images.npz", io.BytesIO()
    write_npz(path, random_images())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("imgs.npy").header_offset
    data = bytearray(path.read_bytes())
    name_length, extra_length = struct.unpack("<HH", data[start + 26 : start + 30])
    data[start + 30 + name_length + extra_length] = 0xFF  # a kind of block that does not exist
    path.write_bytes(data)
    assert_conversion_refused(path)
    np.save(array, random_images())
    none = r"^`imgs` in `[^\n]+` must be a NumPy array, but: [^\n]+$"
    for content, rule in (
        (b"", none),
        (b"not an array at all", none),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1'}\n", none),
        (array.getvalue()[: -64 * 64 - 1], r"it ends within image 3$"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("imgs.npy", content)
        assert_conversion_refused(path, rule)
    path.unlink()
    with h5py.File(tmp_path / "images.hdf5", "w") as file:
        file["imgs/nested"] = random_images()
    assert_conversion_refused(tmp_path / "images.hdf5")


# Checksums


@pytest.mark.parametrize("name", WRITERS)
def test_files_are_known_by_their_checksums(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, random_images())
    algorithm, expected = CHECKSUMS[path.suffix]
    assert len(expected) == 2 * hashlib.new(algorithm).digest_size
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert published.verify(replace(specification(), checksums={path.suffix: ("sha256", digest)}), path) == digest
    with pytest.raises(InvalidInputError, match=f"^[^\n]+ must have {algorithm} {expected}, got [^\n]+$"):
        published.verify(specification(), path)
    with pytest.raises(InvalidInputError, match=r"must be readable, got `[^\n]+`: [A-Z][^\n]+$"):
        published.verify(specification(), tmp_path / f"missing{path.suffix}")
    with pytest.raises(InvalidInputError, match=r"must end in .npz, .hdf5, .h5, got `[^\n]+images.tar`$"):
        published.verify(specification(), tmp_path / "images.tar")


# Data sets by name


def test_data_sets_are_known_by_name_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path / "cache"))
    write_npz(tmp_path / "images.npz", random_images())
    assert datasets.verify("dsprites") is None
    unknown = r"^`dataset` must be one of dsprites, shapes3d, [^\n]+, got mnist$"
    for verify in (datasets.verify, datasets.prepare):
        with pytest.raises(InvalidInputError, match=unknown):
            verify("mnist")
        with pytest.raises(InvalidInputError, match=r"truncated or not the published file$"):
            verify("dsprites", tmp_path / "images.npz")
    assert_nothing_left(tmp_path, "images.npz")  # nothing is cached
    paths = {datasets._cached(datasets.specification("dsprites"), digest) for _, digest in CHECKSUMS.values()}
    assert len(paths) == len({digest for _, digest in CHECKSUMS.values()})
    assert {path.parent for path in paths} == {store.cache_directory()} == {tmp_path / "cache"}
    assert tmp_path / "cache/dsprites-rendered-2.h5" not in paths
    monkeypatch.delenv("LARVAE_CACHE_DIR")
    assert store.cache_directory().name == "larvae"
    monkeypatch.setenv("LARVAE_CACHE_DIR", "cache")
    with pytest.raises(InvalidInputError, match="`LARVAE_CACHE_DIR` must be an absolute path, got `cache`"):
        store.cache_directory()


def test_prepared_file_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(datasets.SPECIFICATIONS, "dsprites", specification())
    path = tmp_path / "images.h5"
    make_packed(path)
    assert datasets.verify("dsprites", path) == open_packed(path).fingerprint
    assert datasets.prepare("dsprites", path) == path
    assert_nothing_left(tmp_path, "cache", "images.h5")  # the record of its check lies in the cache
    with pytest.raises(InvalidInputError, match=r"must hold the 202599 images of celeba, got 5 of dsprites$"):
        datasets.verify("celeba", path)


def test_installed_images_are_fetched_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path))
    make_packed(tmp_path / "elsewhere.h5")
    answers: list[Exception | None] = [None, OSError("connection lost")]

    def fetch() -> NDArray[np.uint8]:
        if error := answers.pop():
            raise error
        return np.fromfile(tmp_path / "elsewhere.h5", np.uint8)

    with pytest.raises(OSError, match="connection lost"):
        datasets.install("dsprites", "sent", fetch)
    assert not (tmp_path / "dsprites-sent.h5").exists()
    paths = [datasets.install("dsprites", "sent", fetch) for _ in range(3)]
    assert paths == [tmp_path / "dsprites-sent.h5"] * 3
    assert np.array_equal(open_packed(paths[0]).packed, store.pack(random_images()))


# Labelled images


def test_labelled_images_are_distinct_nested_and_spread() -> None:
    """Their mean index lies within four standard errors of the middle."""
    for num_images, rates in ((1000, (0.01, 0.1, 1 / 3, 1.0)), (dsprites.GRID.num_images, (0.001, 0.01))):
        large = labelled_indices(num_images, rates[-1], seed=3)
        for rate in rates:
            indices = labelled_indices(num_images, rate, seed=3)
            assert len(np.unique(indices)) == len(indices) == round(rate * num_images)
            assert 0 <= indices.min() <= indices.max() < num_images
            assert np.array_equal(indices, large[: len(indices)])
            standard_error = num_images / np.sqrt(12 * len(indices))
            assert abs(indices.mean() - num_images / 2) < 4 * standard_error
    assert not np.array_equal(labelled_indices(1000, 0.1, seed=3), labelled_indices(1000, 0.1, seed=1))


def test_label_rate_that_leaves_no_image_is_refused() -> None:
    rule = r"^`label_rate` must leave a labelled image: at least 0.01, got 0.004$"
    with pytest.raises(InvalidInputError, match=rule):
        labelled_indices(100, 0.004, seed=0)
    assert len(labelled_indices(100, 0.01, seed=0)) == 1
