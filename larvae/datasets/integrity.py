"""Prepared files are as they were prepared: read once, then known by a record while they do not change.

A record lies in the cache: the digest of a file's bytes, and its size, time and inode when they were last read. Bytes
of another digest, and files without a record, are judged by the digest of the content, which each file has in itself.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from larvae import files
from larvae.advice import advise
from larvae.datasets import checksums, damage, guarded_hdf5, layouts, store
from larvae.datasets.specification import Specification
from larvae.errors import InvalidInputError
from larvae.phases import phase


def made_once(path: Path, specification: Specification, make: Callable[[], object]) -> Path:
    """Have one process of a node make the file at `path`, unless it is there and whole; others wait. Returns the path.

    make: writes it. Where an altered one is made again, the user is told.
    """
    if is_unchanged(path):
        return path
    with contextlib.ExitStack() as stack:
        with phase(f"waiting for {path.name}"):
            stack.enter_context(_held(path))
        stack.enter_context(phase(f"making {path.name}"))
        if path.exists():
            if not (fault := _fault(path, specification)):
                return path
            advise(f"{fault}; it is made again")
        with store.advised(path):
            files.remove_partials(path)
            _record(path).unlink(missing_ok=True)  # that of the bytes before says nothing of others
        make()
        _note(path, _stamp(path), checksums.of_file(path, "sha256"))
    return path


def require_whole(path: Path, specification: Specification, remedy: str) -> None:
    """Raise InvalidInputError, ending in a remedy, unless a prepared file has the content that it was prepared with."""
    if fault := _fault(path, specification):
        raise InvalidInputError(f"{fault}; {remedy}")


def is_prepared(path: Path) -> bool:
    """Tell whether a path is a file that `store.writing` began, of whatever data set and format."""
    if is_unchanged(path):
        return True
    with contextlib.suppress(OSError):
        if path.is_file() and _is_hdf5(path):
            with guarded_hdf5.opened(path) as file:
                return "format" in file.attrs
    return False


def is_unchanged(path: Path) -> bool:
    """Tell whether a file has not been written or replaced since it was found whole."""
    try:
        stamp = _stamp(path)
    except OSError:
        return False
    return any(stamp.items() <= _read(record).items() for record in _records(path))


def _fault(path: Path, specification: Specification) -> str:
    """Read a file, unless it is unchanged; its fault, in words, or an empty string, which is noted."""
    if is_unchanged(path):
        return ""
    try:
        with phase(f"checking {path.name}"):
            stamp, sha256 = _stamp(path), checksums.of_file(path, "sha256")
            known = {"format": store.FORMAT, "sha256": sha256}
            is_known = any(known.items() <= _read(record).items() for record in _records(path))
            fault = "" if is_known else layouts.fault(path, specification)
    except OSError as error:
        return f"`{path}` must be readable, but: {damage.reason(error)}"
    if not fault:
        _note(path, stamp, sha256)
    return fault


def _note(path: Path, stamp: dict[str, Any], sha256: str) -> None:
    with contextlib.suppress(OSError):  # where nothing can be written, each process reads the file
        files.save_json(_record(path), {**stamp, "sha256": sha256})


def _stamp(path: Path) -> dict[str, Any]:
    found = path.stat()
    # As text: an inode may have 64 bits, which JSON's readers may not take. A file of another format is read anew.
    inode = str(found.st_ino)
    return {"size": found.st_size, "modified": found.st_mtime_ns, "inode": inode, "format": store.FORMAT}


def _read(record: Path) -> dict[str, Any]:
    try:
        return files.load_json(record)
    except (OSError, InvalidInputError):
        return {}


def _records(path: Path) -> tuple[Path, Path]:
    """The places of a file's record: beside it, if it lies in a cache, perhaps another node's; and in this cache."""
    return path.with_name(f"{path.name}.checked"), _record(path)


def _record(path: Path) -> Path:
    """The place to which this cache's records are written: none is put beside a user's own file."""
    path, cache = path.absolute(), store.cache_directory().absolute()
    if path.parent == cache:
        return path.with_name(f"{path.name}.checked")
    return cache / "checked" / f"{path.name}-{hashlib.sha256(bytes(path)).hexdigest()[:12]}.checked"


def _is_hdf5(path: Path) -> bool:
    """Tell whether a file begins like those that are prepared: a process is started for no others."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a file of the cache against the node's other processes; a cache that can only be read takes no lock."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # then what is to be written says so
            stack.enter_context(store.locked(path))
        yield
