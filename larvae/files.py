"""All access to folders that several processes or hosts share: what others see is whole or not there.

A study's folder is read and written through these functions alone, so that other storage needs other ones only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, SoftFileLock, Timeout

from larvae.errors import InvalidInputError

_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class HeldError(Exception):
    """Another process holds what was to be locked; says which."""


def save_json(path: Path, value: Any) -> None:
    """Write a JSON document to `path` atomically."""
    save_bytes(path, json.dumps(value, indent=1).encode())


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that `save_json` wrote; InvalidInputError if it is not whole, FileNotFoundError."""
    try:
        return _object(path.read_bytes())
    except ValueError as error:  # no JSON, or no text at all
        raise InvalidInputError(f"`{path}` must be a whole JSON object, but: {error}") from None


def _object(text: bytes) -> dict[str, Any]:
    """The object of a JSON text. Raises ValueError where it is none, or has what nothing here can have written."""
    try:
        value = json.loads(text.decode(), parse_int=_whole_number)  # of bytes, json would guess an encoding
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}")
    if b"\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()  # half a character, which nothing can print
    return value


def _whole_number(digits: str) -> int:
    if abs(number := int(digits)) >= 2**63:
        raise ValueError(f"it has a number of {len(digits)} digits")
    return number


def save_bytes(path: Path, content: bytes) -> None:
    """Write a file's content to `path` atomically."""
    write_atomically(path, lambda file: file.write(content))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], keep: Path | None = None) -> None:
    """Have a file written beside `path` and put in its place; folders above it are made.

    keep: where the file that is there goes, once the new one is whole.
    """
    with appearing(path) as partial:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file appears at `path` when the block has ended well, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{_partials(path)}{os.getpid()}")
    with _named(path, partial):
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path, partial: Path) -> Iterator[None]:
    """Within this a file is written: an error that names none, as of a full disk, or the one beside it, names it."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename in (None, str(partial)):
            error.filename, error.filename2 = str(path), None
        raise


def remove_partials(path: Path) -> None:
    """Remove what processes of this host that are no more have left of a file."""
    for stale in path.parent.glob(f"{_partials(path)}*"):
        pid = stale.name.removeprefix(_partials(path))  # no number: of a host whose name begins with this one's
        if pid.isdigit() and not _is_running(int(pid)):
            stale.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's
        return True
    except ProcessLookupError:
        return False
    return True


def _partials(path: Path) -> str:
    return f".{path.name}.partial-{platform.node()}-"  # hosts may share the folder


def append_lines(path: Path, values: Iterable[Any], *, durable: bool = False) -> None:
    """Append JSON values, a line each, in one write. durable: returns when they outlive the machine's crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(value)}\n" for value in values).encode()
    with _named(path, path), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a killed process left part of a line, even all of it: it was never read
                text = b" (cut short)\n" + text
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path, start: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The objects of the whole lines from a byte on, and the byte behind them. What is none is left out."""
    values: list[dict[str, Any]] = []
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read()
    except FileNotFoundError:
        return values, start
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):
            values.append(_object(line))
    return values, start + len(whole)


def has_shape(value: Any, **kinds: type | tuple[type, ...]) -> bool:
    """Tell whether what was read is an object with these entries, each of its kind: files may be damaged."""
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in kinds.items())


def listed(folder: Path, pattern: str) -> list[Path]:
    """The paths in a folder that fit a glob pattern, in the order of their names."""
    return sorted(folder.glob(pattern))


@contextlib.contextmanager
def locked(path: Path, *, waits: bool) -> Iterator[None]:
    """Hold a file against all other processes, made for it; HeldError where another holds it, unless one waits.

    Where the file system has no locks a file beside it marks the holder; a dead one of this host is taken over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = _acquire(path, timeout=0)
    except Timeout:
        if not waits:
            raise HeldError(_holder(path)) from None
        print(f"Waiting for `{path}`, which is held by {_holder(path)}", file=sys.stderr)
        lock = _acquire(path, timeout=-1)
    with lock:
        with contextlib.suppress(OSError):  # it only describes; the file may be another user's
            path.write_text(f"{platform.node()} {os.getpid()} {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        yield


def _acquire(path: Path, timeout: float) -> AbstractContextManager[object]:
    """Lock a file; filelock's Timeout where another process holds it."""
    try:
        return FileLock(path, fallback_to_soft=False).acquire(timeout)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        return SoftFileLock(_marker(path)).acquire(timeout)


def _holder(path: Path) -> str:
    """The process that holds a file, in words, and what to do where it is on a host that has gone."""
    host, process, *since = [*path.read_text().split(), "?", "?"][:4]
    words = f"process {process} on {host} since {' '.join(since)}"
    return f"{words}: if that has gone, delete `{_marker(path)}`" if _marker(path).exists() else words


def _marker(path: Path) -> Path:
    """The file that marks the holder where there are no locks."""
    return path.with_name(f"{path.name}.held")
