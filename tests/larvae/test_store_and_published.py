"""Prepared files of binary images and the published files they are made from, and which images are labelled."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import filelock
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import datasets
from larvae.datasets import dsprites, labelled_indices, layouts, store, writing
from larvae.datasets import dsprites_published as published
from larvae.datasets.layouts import PackedImages
from larvae.datasets.specification import Specification
from larvae.errors import InvalidInputError

NUM_IMAGES = 5
CHECKSUMS = dsprites.SPECIFICATION.checksums
ONE_LINE = r"^[^\n]+$"
"""What every message to the user must look like."""


def specification(count: int = NUM_IMAGES) -> Specification:
    """dSprites with fewer images."""
    return replace(dsprites.SPECIFICATION, num_images=count)


def open_packed(path: Path, count: int = NUM_IMAGES) -> PackedImages:
    opened = layouts.open_images(path, specification(count))
    assert isinstance(opened, PackedImages)
    return opened


def convert(path: Path, target: Path, count: int = NUM_IMAGES) -> None:
    published.convert(specification(count), path, target)


def random_images(count: int = NUM_IMAGES) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 2, (count, 64, 64), np.uint8)


def write_npz(path: Path, images: NDArray[np.generic]) -> None:
    """The published layout, with the pickled metadata that must never be unpickled."""
    metadata = np.array({"author": "someone"}, dtype=object)
    np.savez_compressed(path, imgs=images, latents_classes=np.zeros((len(images), 6), np.int64), metadata=metadata)


def write_hdf5(path: Path, images: NDArray[np.generic]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", data=images, compression="gzip")
        file["latents/classes"] = np.zeros((len(images), 6), np.int64)


WRITERS: dict[str, Callable[[Path, NDArray[np.generic]], None]] = {
    "images.npz": write_npz,
    "images.hdf5": write_hdf5,
    "images.h5": write_hdf5,
}
each_format = pytest.mark.parametrize("name", WRITERS)


def assert_nothing_left(directory: Path, *expected: str) -> None:
    assert sorted(path.name for path in directory.iterdir()) == sorted(expected)


# Packing


def test_unpack_inverts_pack_at_an_eighth_of_the_size() -> None:
    images = random_images()
    packed = store.pack(images)
    assert packed.shape == (NUM_IMAGES, 512)
    assert np.array_equal(store.unpack(packed), images)


def test_written_file_opens_with_its_images(tmp_path: Path) -> None:
    images = random_images()
    path = tmp_path / "images.h5"
    with writing.writing_packed(path, specification()) as packed:
        packed[:] = store.pack(images)
        assert not path.exists()
    opened = open_packed(path)
    order = np.array([3, 0, 3])
    assert np.array_equal(opened.images(order)[:, 0], images[order])
    assert isinstance(opened.packed, np.memmap)
    assert opened.fingerprint == hashlib.sha256(store.pack(images).tobytes()).hexdigest()


def test_file_says_what_it_holds(tmp_path: Path) -> None:
    make_packed(tmp_path / "images.h5")
    with store.open_file(tmp_path / "images.h5") as file:
        assert dict(file.attrs) == {
            "format": store.FORMAT,
            "dataset": "dsprites",
            "num_images": NUM_IMAGES,
            "maximum": 1,
            "sha256": open_packed(tmp_path / "images.h5").fingerprint,
        }
        assert file["images"].shape == (NUM_IMAGES, 512)
        assert file["images"].chunks is None


def test_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def write_in_part() -> None:
        with writing.writing_packed(tmp_path / "images.h5", specification()) as packed:
            packed[0] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_in_part()
    assert_nothing_left(tmp_path)


def test_leavings_of_a_killed_process_are_cleared_and_not_taken_for_the_file(tmp_path: Path) -> None:
    path, stale = tmp_path / "images.h5", tmp_path / "images.h5.partial-1"
    make_packed(stale)
    store.made_once(path, lambda: make_packed(path))
    assert_nothing_left(tmp_path, "images.h5", "images.h5.lock")


def make_packed(path: Path, count: int = NUM_IMAGES) -> None:
    with writing.writing_packed(path, specification(count)) as packed:
        packed[:] = store.pack(random_images(count))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def truncate_within_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_text(path: Path) -> None:
    path.write_text("this is no data set")


def replace_by_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_another_file(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = store.pack(random_images())


def replace_images_by_floats(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["images"]
        file["images"] = np.zeros((NUM_IMAGES, store.BYTES_PER_IMAGE), np.float32)


def replace_images_by_group(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["images"]
        file.create_group("images")


def remove(path: Path) -> None:
    path.unlink()


def remove_images(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["images"]


def remove_fingerprint(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs["sha256"]


def break_number(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["num_images"] = "many"


def announce_another_layout(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "larvae 2"


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        truncate_within_the_header,
        empty,
        replace_by_text,
        replace_by_archive,
        replace_by_folder,
        replace_by_another_file,
        replace_images_by_floats,
        replace_images_by_group,
        remove,
        remove_images,
        remove_fingerprint,
        break_number,
        announce_another_layout,
    ],
)
def test_damaged_prepared_file_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "images.h5"
    make_packed(path)
    damage(path)
    with pytest.raises(InvalidInputError, match=ONE_LINE) as caught:
        open_packed(path)
    assert str(path) in str(caught.value)


def test_prepared_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.h5"
    make_packed(path, count=3)
    with pytest.raises(InvalidInputError, match=r"must hold the 5 images of dsprites, got 3 of dsprites$"):
        open_packed(path)


def test_prepared_file_of_another_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.h5"
    make_packed(path)
    with pytest.raises(InvalidInputError, match=r"must hold the 5 images of celeba, got 5 of dsprites$"):
        layouts.open_images(path, replace(specification(), name="celeba"))


def test_whole_file_passes_and_an_altered_pixel_does_not(tmp_path: Path) -> None:
    path = tmp_path / "images.h5"
    make_packed(path)
    layouts.require_whole(path, specification())
    with h5py.File(path, "r+") as file:
        file["images"][2, 100] ^= 1
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+` must have sha256 [^\n]+ delete it to prepare it again$"):
        layouts.require_whole(path, specification())


def test_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "not yet there" / "images.h5"
    with store.locked(path), pytest.raises(filelock.Timeout):
        filelock.FileLock(f"{path}.lock", timeout=0).acquire()
    with store.locked(path):
        assert path.parent.is_dir()


def test_cache_directory_is_the_one_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path / "here"))
    assert store.cache_directory() == tmp_path / "here"
    monkeypatch.delenv("LARVAE_CACHE_DIR")
    assert store.cache_directory().name == "larvae"


# Published files


@each_format
@pytest.mark.parametrize("count", [NUM_IMAGES, 4096 + 3], ids=["few", "more than a slice"])
def test_converted_file_holds_the_published_images(tmp_path: Path, name: str, count: int) -> None:
    images = random_images(count)
    WRITERS[name](tmp_path / name, images)
    convert(tmp_path / name, tmp_path / "packed.h5", count)
    opened = open_packed(tmp_path / "packed.h5", count)
    assert np.array_equal(opened.packed, store.pack(images))
    assert_nothing_left(tmp_path, name, "packed.h5")


def test_fingerprint_does_not_depend_on_the_published_format(tmp_path: Path) -> None:
    fingerprints = set()
    for name, write in WRITERS.items():
        write(tmp_path / name, random_images())
        target = tmp_path / f"from-{name}.h5"
        convert(tmp_path / name, target)
        fingerprints.add(open_packed(target).fingerprint)
    assert len(fingerprints) == 1


UNSUITABLE = {
    "too few": random_images(3),
    "another height": np.zeros((NUM_IMAGES, 32, 64), np.uint8),
    "flat": np.zeros((NUM_IMAGES, 64 * 64), np.uint8),
    "another type": random_images().astype(np.int64),
    "booleans": random_images().astype(bool),
    "grey": random_images() * np.uint8(255),
    "two in one pixel": np.pad(random_images()[:, :, 1:], ((0, 0), (0, 0), (0, 1)), constant_values=2),
}


@each_format
@pytest.mark.parametrize("kind", UNSUITABLE)
def test_unsuitable_images_are_refused_and_leave_nothing(tmp_path: Path, name: str, kind: str) -> None:
    WRITERS[name](tmp_path / name, UNSUITABLE[kind])
    with pytest.raises(InvalidInputError, match=r"^`imgs` in `[^\n]+` must [^\n]+, got [^\n]+$"):
        convert(tmp_path / name, tmp_path / "packed.h5")
    assert_nothing_left(tmp_path, name)


def test_fortran_order_is_refused_and_not_scrambled(tmp_path: Path) -> None:
    write_npz(tmp_path / "images.npz", np.asfortranarray(random_images()))
    with pytest.raises(InvalidInputError, match=r"must be in C order, got Fortran order$"):
        convert(tmp_path / "images.npz", tmp_path / "packed.h5")
    assert_nothing_left(tmp_path, "images.npz")


@each_format
def test_missing_array_is_named(tmp_path: Path, name: str) -> None:
    if name.endswith(".npz"):
        np.savez_compressed(tmp_path / name, pictures=random_images())
    else:
        with h5py.File(tmp_path / name, "w") as file:
            file["pictures"] = random_images()
    with pytest.raises(InvalidInputError, match=r"^[^\n]*with an array `imgs`, but: [^\n]*imgs[^\n]*$"):
        convert(tmp_path / name, tmp_path / "packed.h5")
    assert_nothing_left(tmp_path, name)


@each_format
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.98])
def test_truncated_published_file_is_refused_and_leaves_nothing(tmp_path: Path, name: str, kept: float) -> None:
    WRITERS[name](tmp_path / name, random_images(200))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InvalidInputError, match=ONE_LINE):
        convert(tmp_path / name, tmp_path / "packed.h5", 200)
    assert_nothing_left(tmp_path, name)


@each_format
@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_altered_bytes_within_the_images_are_refused_and_leave_nothing(tmp_path: Path, name: str, byte: bytes) -> None:
    WRITERS[name](tmp_path / name, random_images(200))
    data = bytearray((tmp_path / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = 64 * byte
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidInputError, match=ONE_LINE):
        convert(tmp_path / name, tmp_path / "packed.h5", 200)
    assert_nothing_left(tmp_path, name)


def test_broken_compression_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    write_npz(path, random_images())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("imgs.npy").header_offset
    data = bytearray(path.read_bytes())
    name_length, extra_length = struct.unpack("<HH", data[start + 26 : start + 30])
    data[start + 30 + name_length + extra_length] = 0xFF  # a kind of block that does not exist
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match=ONE_LINE):
        convert(path, tmp_path / "packed.h5")
    assert_nothing_left(tmp_path, "images.npz")


@pytest.mark.parametrize("content", [b"", b"not an array at all", b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1'}\n"])
def test_array_that_is_none_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "images.npz", "w") as archive:
        archive.writestr("imgs.npy", content)
    with pytest.raises(InvalidInputError, match=r"^`imgs` in `[^\n]+` must be a NumPy array, but: [^\n]+$"):
        convert(tmp_path / "images.npz", tmp_path / "packed.h5")
    assert_nothing_left(tmp_path, "images.npz")


def test_array_shorter_than_its_header_says_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.save(whole, random_images())
    with zipfile.ZipFile(tmp_path / "images.npz", "w") as archive:
        archive.writestr("imgs.npy", whole.getvalue()[: -64 * 64 - 1])
    with pytest.raises(InvalidInputError, match=r"it ends within image 3$"):
        convert(tmp_path / "images.npz", tmp_path / "packed.h5")
    assert_nothing_left(tmp_path, "images.npz")


def test_group_in_the_place_of_the_array_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "images.hdf5", "w") as file:
        file["imgs/nested"] = random_images()
    with pytest.raises(InvalidInputError, match=ONE_LINE):
        convert(tmp_path / "images.hdf5", tmp_path / "packed.h5")
    assert_nothing_left(tmp_path, "images.hdf5")


# Checksums


@each_format
def test_file_with_the_right_checksum_is_accepted(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, random_images())
    path = tmp_path / name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = replace(specification(), checksums={path.suffix: ("sha256", digest)})
    assert published.verify(known, path) == digest


@pytest.mark.parametrize(("suffix", "length"), [(".npz", 32), (".hdf5", 64), (".h5", 64)])
def test_known_digests_have_the_length_of_their_algorithm(suffix: str, length: int) -> None:
    algorithm, digest = CHECKSUMS[suffix]
    assert len(digest) == length == 2 * hashlib.new(algorithm).digest_size


@each_format
@pytest.mark.parametrize("alter", [bytes, lambda data: data[:-1], lambda data: data + b"\0"])
def test_truncated_or_altered_file_is_refused(tmp_path: Path, name: str, alter: Callable[[bytes], bytes]) -> None:
    path = tmp_path / name
    WRITERS[name](path, random_images())
    algorithm, expected = CHECKSUMS[path.suffix]
    path.write_bytes(alter(path.read_bytes()))
    with pytest.raises(InvalidInputError, match=f"^[^\n]+ must have {algorithm} {expected}, got [^\n]+$"):
        published.verify(specification(), path)


def test_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"must end in one of .npz, .hdf5, .h5, got `[^\n]+images.tar`$"):
        published.verify(specification(), tmp_path / "images.tar")


@pytest.mark.parametrize("name", ["missing.npz", "a directory.npz"])
def test_unreadable_file_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / "a directory.npz").mkdir()
    with pytest.raises(InvalidInputError, match=r"must be readable, got `[^\n]+`: [A-Z][^\n]+$"):
        published.verify(specification(), tmp_path / name)


# Data sets by name


def test_unknown_data_set_is_refused() -> None:
    for verify in (datasets.verify, datasets.prepare):
        with pytest.raises(
            InvalidInputError, match=r"^`dataset` must be one of dsprites, shapes3d, [^\n]+, got mnist$"
        ):
            verify("mnist")


def test_known_data_set_without_a_file_is_accepted() -> None:
    assert datasets.verify("dsprites") is None


def test_unpublished_file_is_refused_before_anything_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path / "cache"))
    write_npz(tmp_path / "images.npz", random_images())
    for verify in (datasets.verify, datasets.prepare):
        with pytest.raises(InvalidInputError, match=r"truncated or not the published file$"):
            verify("dsprites", tmp_path / "images.npz")
    assert_nothing_left(tmp_path, "images.npz")


def test_cached_name_tells_published_files_apart(cache_directory: Path) -> None:
    paths = {datasets.cached_path("dsprites", digest) for _, digest in CHECKSUMS.values()}
    assert len(paths) == len({digest for _, digest in CHECKSUMS.values()})
    assert {path.parent for path in paths} == {cache_directory}
    assert cache_directory / "dsprites-rendered-2.h5" not in paths


def test_installed_images_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path))
    make_packed(tmp_path / "elsewhere.h5")
    fetched = []

    def fetch() -> NDArray[np.uint8]:
        fetched.append(True)
        return np.fromfile(tmp_path / "elsewhere.h5", np.uint8)

    paths = [datasets.install("sent.h5", fetch) for _ in range(3)]
    assert paths == [tmp_path / "sent.h5"] * 3
    assert len(fetched) == 1
    assert np.array_equal(open_packed(paths[0]).packed, store.pack(random_images()))


def test_prepared_file_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(datasets.SPECIFICATIONS, "dsprites", specification())
    path = tmp_path / "images.h5"
    make_packed(path)
    assert datasets.verify("dsprites", path) == open_packed(path).fingerprint
    assert datasets.prepare("dsprites", path) == path
    assert_nothing_left(tmp_path, "images.h5")
    with pytest.raises(InvalidInputError, match=r"must hold the 202599 images of celeba, got 5 of dsprites$"):
        datasets.verify("celeba", path)


def test_failed_fetch_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path))

    def fetch() -> NDArray[np.uint8]:
        raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        datasets.install("sent.h5", fetch)
    assert not (tmp_path / "sent.h5").exists()


# Labelled images


def test_labelled_images_are_nested_across_label_rates() -> None:
    small, middle, large = (labelled_indices(1000, rate, seed=3) for rate in (0.01, 0.1, 1.0))
    assert (len(small), len(middle), len(large)) == (10, 100, 1000)
    assert np.array_equal(middle[:10], small)
    assert np.array_equal(large[:100], middle)


@pytest.mark.parametrize("label_rate", [0.01, 1 / 3, 1.0])
def test_labelled_images_are_distinct_images(label_rate: float) -> None:
    indices = labelled_indices(1000, label_rate, seed=0)
    assert len(np.unique(indices)) == len(indices) == round(label_rate * 1000)
    assert 0 <= indices.min() <= indices.max() < 1000


def test_labelled_images_depend_on_the_seed_alone() -> None:
    first = labelled_indices(1000, 0.1, seed=0)
    assert np.array_equal(labelled_indices(1000, 0.1, seed=0), first)
    assert not np.array_equal(labelled_indices(1000, 0.1, seed=1), first)


def test_labelled_images_are_spread_over_the_whole_data_set() -> None:
    """Their mean index lies within four standard errors of the middle."""
    num_images = dsprites.GRID.num_images
    indices = labelled_indices(num_images, 0.01, seed=0)
    standard_error = num_images / np.sqrt(12 * len(indices))
    assert abs(indices.mean() - num_images / 2) < 4 * standard_error


def test_label_rate_that_leaves_no_image_is_refused() -> None:
    rule = r"^`label_rate` must leave a labelled image: at least 0.01, got 0.004$"
    with pytest.raises(InvalidInputError, match=rule):
        labelled_indices(100, 0.004, seed=0)
    assert len(labelled_indices(100, 0.01, seed=0)) == 1
