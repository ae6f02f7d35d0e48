"""Damaged published files, and folders that cannot be written: a line that names the file, and nothing left behind."""

from __future__ import annotations

import random
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from larvae import datasets
from larvae.datasets import celeba, damage, dsprites_published, guarded_hdf5, isaac3d, photographs, shapes3d, store
from larvae.errors import InvalidInputError
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny


class Read(NamedTuple):
    """A small published file, and what reads it."""

    path: Path
    read: Callable[[Path], object]
    """Given the prepared file to write."""


def converted(module: datasets.Reader, tiny: Tiny) -> Callable[[Path], object]:
    """Convert a file without regard to its checksum."""
    return lambda target: module.convert(tiny.specification, tiny.source, target)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Read]:
    root = tmp_path_factory.mktemp("published")
    for name in ("folder", "archive"):
        (root / name).mkdir()
    npz, hdf5, shapes = tiny_files.dsprites(root), tiny_files.dsprites(root, ".hdf5"), tiny_files.shapes3d(root)
    folder, archive = tiny_files.celeba(root / "folder", 3), tiny_files.celeba(root / "archive", 3, archive=True)
    robots = tiny_files.isaac3d(root)
    names = ["000003.png"]
    decode = next(photographs.batches(photographs.read_folder(robots.source / "images"), names, (128, 128)))
    return {
        "npz": Read(npz.source, converted(dsprites_published, npz)),
        "npy": Read(robots.source / "labels.npy", lambda _: isaac3d.verify(robots.specification, robots.source)),
        "png": Read(robots.source / "images/000003.png", lambda _: decode()),
        "jpg": Read(folder.source / "img_align_celeba/000002.jpg", converted(celeba, folder)),
        "txt": Read(folder.source / "list_attr_celeba.txt", converted(celeba, folder)),
        "zip": Read(archive.source / "img_align_celeba.zip", converted(celeba, archive)),
        "hdf5": Read(hdf5.source, converted(dsprites_published, hdf5)),
        "h5": Read(shapes.source, converted(shapes3d, shapes)),
    }


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """Some bits or bytes changed, most of them near one of the ends, where headers are; or the end cut off."""
    content, length = bytearray(whole), chance.choice((200, 3000, len(whole)))
    place = chance.randrange(min(length, len(whole)))
    place = chance.choice((place, place, len(whole) - 1 - place))
    if chance.random() < 0.2:
        return bytes(content[:place])
    for position in range(place, min(place + chance.choice((1, 1, 4, 16)), len(whole))):
        content[position] = chance.choice((content[position] ^ 1 << chance.randrange(8), chance.randrange(256), 255))
    return bytes(content)


@pytest.mark.fault("damage of published data files", "one line, and no part of a prepared file")
@pytest.mark.parametrize(
    ("kind", "count"),
    [("npz", 80), ("npy", 80), ("png", 60), ("jpg", 25), ("txt", 25), ("zip", 25), ("hdf5", 2), ("h5", 2)]
    + [pytest.param(kind, 1000, marks=pytest.mark.slow) for kind in ("npz", "npy", "png", "zip", "hdf5", "h5")],
)
def test_nothing_but_a_line_comes_of_damage(
    kinds: dict[str, Read], kind: str, count: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """And no part of a prepared file."""
    record_property("times", count)
    (path, read), chance, target = kinds[kind], random.Random(f"{kind} {count}"), tmp_path / "prepared.h5"
    whole = path.read_bytes()
    refused, left = list[str](), list[str]()
    try:
        for _ in range(count):
            path.write_bytes(mutated(whole, chance))
            try:
                read(target)
            except (InvalidInputError, OSError) as error:
                refused.append(str(error))
                left += [file.name for file in tmp_path.iterdir()]
            target.unlink(missing_ok=True)
    finally:
        path.write_bytes(whole)
    assert [line for line in refused if len(line.splitlines()) != 1] == []
    assert left == []
    assert len(refused) > count / 8


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("npy", b"'fortran_order'", b"'fortran_order("),  # what NumPy leaves to Python's tokenizer
        ("npy", b"(512, 9)", b"(512,\n9"),
        ("npy", b"<f4", b"<O4"),
        ("npy", b"(512, 9)", b"(5**99,)"),
    ],
)
def test_headers_of_arrays_that_are_no_python_are_refused(
    kinds: dict[str, Read], kind: str, old: bytes, new: bytes
) -> None:
    path, read = kinds[kind]
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new, 1))
    try:
        with pytest.raises(
            InvalidInputError, match=r"^`[^\n]+labels.npy` must be a NumPy array of numbers, but: [^\n]+$"
        ):
            read(path)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "child",
    [
        "import time; time.sleep(99)",
        "import os; os.abort()",
        'print(\'{"shape": [96, 6], "dtype": "<f8", \', flush=True)',
    ],
)
def test_a_library_that_hangs_or_crashes_over_a_file_is_a_line(
    kinds: dict[str, Read], child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text(child)
    monkeypatch.setattr(guarded_hdf5, "_CHILD", tmp_path / "child.py")
    monkeypatch.setattr(guarded_hdf5, "SECONDS", 0.5)
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+3dshapes.h5` must be a whole 3D Shapes file [^\n]+$"):
        kinds["h5"].read(tmp_path / "prepared.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["child.py"]


def test_a_guarded_file_is_read_like_an_open_one(kinds: dict[str, Read]) -> None:
    path = kinds["h5"].path
    with guarded_hdf5.opened(path) as guarded, store.open_file(path) as file:
        for name in ("images", "labels"):
            array, expected = guarded[name], file[name]
            assert (array.shape, array.dtype, array.chunks) == (expected.shape, expected.dtype, expected.chunks)
            for rows in (slice(None), slice(3, 7), slice(90, 200), slice(5, 5)):
                assert np.array_equal(array[rows], expected[rows])
        assert ("images" in guarded, "pictures" in guarded, guarded.attrs) == (True, False, {})
        with pytest.raises(OSError, match=r"^it has no array `pictures`$"):
            guarded["pictures"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within this no file can grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


ADVICE = r"^`[^\n]+` cannot be written: [A-Z][\w ]+; give LARVAE_CACHE_DIR a folder that can be, with room for it$"


@pytest.mark.parametrize("make", [tiny_files.dsprites, tiny_files.shapes3d], ids=["packed", "colour"])
def test_a_full_or_unwritable_cache_is_a_line_of_advice(
    make: Callable[[Path], Tiny], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = make(tmp_path)
    cache = tmp_path / "cache"
    tiny_files.register(tiny, monkeypatch, cache)
    for size in (10_000, 0):
        with largest_file(size), pytest.raises(OSError, match=ADVICE):
            datasets.prepare(tiny.specification.name, tiny.source)
        assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == []
    shutil.rmtree(cache)
    cache.write_text("no folder")
    with pytest.raises(OSError, match=ADVICE):
        datasets.prepare(tiny.specification.name, tiny.source)


def test_reasons_are_one_line_whatever_is_raised() -> None:
    for error, said in (
        (KeyError("a\nb"), "'a\\nb'"),
        (ValueError("a\n  b"), "a b"),
        (EOFError(), "EOFError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "MemoryError"),
    ):
        with pytest.raises(InvalidInputError) as caught, damage.told("`x` must be whole"):
            raise error
        assert str(caught.value) == f"`x` must be whole, but: {said}"
    with pytest.raises(InvalidInputError, match=r"^as it is$"), damage.told("`x` must be whole"):
        raise InvalidInputError("as it is")
