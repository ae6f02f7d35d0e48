"""Prepared files that were altered are noticed, once, and made again or refused; whole ones are read once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import datasets, files
from larvae.advice import advice_taken
from larvae.datasets import checksums, integrity, layouts, store
from larvae.errors import InvalidInputError
from larvae.phases import current_phase
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny

ONE_LINE = r"^[^\n]+$"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A data set that can be rendered, with few images."""
    made = tiny_files.dsprites(tmp_path)
    tiny_files.register(made, monkeypatch, tmp_path / "cache")
    return made


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A data set that only its user has."""
    made = tiny_files.celeba(tmp_path, num_images=6)
    tiny_files.register(made, monkeypatch, tmp_path / "cache")
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read from end to end, in their order."""
    names: list[str] = []

    def counted(function: Callable[..., str]) -> Callable[..., str]:
        def count(path: Path, *more: object) -> str:
            names.append(path.name)
            return function(path, *more)

        return count

    monkeypatch.setattr(checksums, "of_file", counted(checksums.of_file))
    monkeypatch.setattr(layouts, "fault", counted(layouts.fault))
    return names


def overwrite(path: Path, position: float = 0.5, count: int = 4000) -> None:
    """Write over some bytes, so that the time of the last change tells it, however fast that was."""
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(int(position * path.stat().st_size))
        file.write(np.random.default_rng(0).bytes(count))
    os.utime(path, ns=(before, before + 10**9))


@pytest.mark.fault("overwritten bytes of a prepared data file", "told, rendered again, equal to the byte")
@pytest.mark.parametrize("position", [0.0, 0.5])
def test_overwritten_bytes_are_told_and_a_rendered_file_is_made_anew(tiny: Tiny, position: float) -> None:
    """In the images, of which HDF5 knows nothing, and in its own header."""
    path = datasets.prepare("dsprites")
    whole = path.read_bytes()
    overwrite(path, position)
    with advice_taken() as told:
        assert datasets.prepare("dsprites") == path
    assert path.read_bytes() == whole
    assert [line.count("\n") for line in told] == [0]
    assert str(path) in told[0]
    with advice_taken() as told:
        datasets.prepare("dsprites")
    assert told == []


def test_an_unchanged_file_is_not_read_again(tiny: Tiny, read: list[str]) -> None:
    """By whatever command; one that was written or replaced is read, once."""
    path = datasets.prepare("dsprites")
    read.clear()
    datasets.prepare("dsprites")
    datasets.fingerprint("dsprites", path)
    assert read == []
    os.utime(path, ns=(1, 1))
    for _ in range(2):
        datasets.prepare("dsprites")
    assert read == [path.name]
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(1, 1))
    copy.replace(path)
    for _ in range(2):
        datasets.prepare("dsprites")
    assert read == [path.name] * 2


def test_a_file_without_a_digest_is_compared_with_its_own_and_gets_one(tiny: Tiny, read: list[str]) -> None:
    """As one of an earlier version; a record that is damaged is none, and an altered file is not taken for whole."""
    path = datasets.prepare("dsprites")
    whole, record = path.read_bytes(), path.with_name(f"{path.name}.checked")
    for damaged in (None, b"", b"{}", b"[]", b'{"sha256": 1', record.read_bytes()[:-9]):
        record.unlink() if damaged is None else record.write_bytes(damaged)
        datasets.prepare("dsprites")
        read.clear()
        datasets.prepare("dsprites")
        assert read == []
    record.unlink()
    overwrite(path)
    with advice_taken() as told:
        datasets.prepare("dsprites")
    assert len(told) == 1
    assert path.read_bytes() == whole


def test_a_cache_that_can_only_be_read_serves_and_is_read_each_time(
    tiny: Tiny, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An altered file in it is refused, with what to do."""
    path = datasets.prepare("dsprites")
    whole = path.read_bytes()
    path.with_name(f"{path.name}.checked").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("locked", "save_json", "appearing", "remove_partials"):
        monkeypatch.setattr(files, name, refuse)
    read.clear()
    for _ in range(2):
        datasets.prepare("dsprites")
    assert read == [path.name, path.name] * 2
    overwrite(path)
    with advice_taken(), pytest.raises(OSError, match=r"^`[^\n]+` cannot be written: [^\n]+ LARVAE_CACHE_DIR [^\n]+$"):
        datasets.prepare("dsprites")
    assert path.read_bytes() != whole


def test_what_only_its_user_can_prepare_again_is_refused_and_prepared_again_by_the_command(faces: Tiny) -> None:
    path = datasets.prepare("celeba", faces.source)
    whole = path.read_bytes()
    overwrite(path)
    for use in (datasets.prepare, lambda name: datasets.fingerprint(name, path)):
        with pytest.raises(InvalidInputError, match=ONE_LINE) as caught:
            use("celeba")
        assert str(path) in str(caught.value)
        assert "python -m larvae.datasets prepare celeba --source FOLDER" in str(caught.value)
    with advice_taken() as told:
        datasets.prepare("celeba", faces.source)
    assert len(told) == 1
    assert path.read_bytes() == whole


def test_a_file_of_ones_own_is_checked_where_it_is(faces: Tiny, tmp_path: Path, read: list[str]) -> None:
    """Nothing is put beside it, and no command reads it twice; altered, it is refused."""
    own = tmp_path / "own" / "faces.h5"
    own.parent.mkdir()
    own.write_bytes(datasets.prepare("celeba", faces.source).read_bytes())
    read.clear()
    for _ in range(2):
        datasets.verify("celeba", own)
        assert datasets.prepare("celeba", own) == own
    assert read == [own.name, own.name]
    assert [path.name for path in own.parent.iterdir()] == [own.name]
    overwrite(own)
    for use in (datasets.verify, datasets.prepare, datasets.fingerprint):
        with pytest.raises(InvalidInputError, match=ONE_LINE) as caught:
            use("celeba", own)
        assert str(own) in str(caught.value)
        assert "--source FOLDER" in str(caught.value)


def test_an_altered_file_that_was_sent_is_fetched_again(tiny: Tiny, tmp_path: Path) -> None:
    made = datasets.prepare("dsprites", tiny.source)
    content, fetched = np.fromfile(made, np.uint8), []

    def fetch() -> NDArray[np.uint8]:
        fetched.append(True)
        return content

    path = datasets.install("dsprites", "sent", fetch)
    overwrite(path)
    with advice_taken() as told:
        assert [datasets.install("dsprites", "sent", fetch) for _ in range(2)] == [path] * 2
    assert (len(fetched), len(told)) == (2, 1)
    assert np.array_equal(np.fromfile(path, np.uint8), content)


def test_a_file_with_an_inode_of_64_bits_is_known_again(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems over networks have; JSON's readers take 63."""
    path = datasets.prepare(tiny.specification.name)
    stamp = integrity._stamp(path) | {"inode": str(2**64 - 1)}
    monkeypatch.setattr(integrity, "_stamp", lambda path: stamp)
    assert not integrity.is_unchanged(path)
    integrity._note(path, stamp, "0" * 64)
    assert integrity.is_unchanged(path)


def test_a_file_that_was_found_whole_is_looked_at_anew_by_another_format(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = datasets.prepare(tiny.specification.name)
    assert integrity.is_unchanged(path)
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    assert not integrity.is_unchanged(path)
    with pytest.raises(InvalidInputError, match="its format is"):
        integrity.require_whole(path, tiny.specification, "make it anew")


def test_making_a_file_is_a_phase_which_counts_as_life(tiny: Tiny) -> None:
    phases: list[str] = []

    def fetch() -> NDArray[np.uint8]:
        phases.append(current_phase())
        return np.frombuffer(made.read_bytes(), np.uint8)

    made = datasets.prepare(tiny.specification.name)
    path = datasets.install(tiny.specification.name, datasets.fingerprint(tiny.specification.name, made), fetch)
    assert phases == [f"making {path.name}"]
    assert current_phase() == ""


def test_a_file_that_another_process_is_checking_is_waited_for(tiny: Tiny, read: list[str]) -> None:
    """And then not read."""
    path = datasets.prepare("dsprites")
    record = path.with_name(f"{path.name}.checked")
    checked = record.read_bytes()
    record.unlink()
    read.clear()
    locked = store.locked

    def other_was_faster(of: Path) -> object:
        record.write_bytes(checked)
        return locked(of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "locked", other_was_faster)
        integrity.made_once(path, tiny.specification, lambda: pytest.fail("it is whole"))
    assert read == []


def test_a_damaged_image_is_a_fault_of_the_file(faces: Tiny) -> None:
    """Found by a process that has it open: as a disk's, so that its work is done again, with the file as it is then."""
    dataset = datasets.open_dataset("celeba", datasets.prepare("celeba", faces.source))
    path = datasets.cached_path("celeba")
    overwrite(path, 0.3, int(0.5 * path.stat().st_size))
    with pytest.raises(OSError, match=r"^`[^\n]+` must be whole, but image \d+ is not: [^\n]+$"):
        dataset.images(np.arange(6))
