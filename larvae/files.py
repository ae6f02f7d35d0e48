"""All access to folders that several processes or hosts share: what others see is whole or not there.

A study's folder is read and written through these functions alone, so that other storage needs other ones only.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from larvae.errors import InvalidInputError


class HeldError(Exception):
    """Another process holds what was to be locked."""


def save_json(path: Path, value: Any) -> None:
    """Write a JSON document to `path` atomically."""
    save_bytes(path, json.dumps(value, indent=1).encode())


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that `save_json` wrote; InvalidInputError if it is not whole, FileNotFoundError."""
    try:
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict):
            raise TypeError(f"it holds a {type(value).__name__}")
        return value
    except (ValueError, TypeError) as error:  # no JSON, or no text at all
        raise InvalidInputError(f"`{path}` must be a whole JSON object, but: {error}") from None


def save_bytes(path: Path, content: bytes) -> None:
    """Write a file's content to `path` atomically."""
    write_atomically(path, lambda file: file.write(content))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Have a file written beside `path` and put in its place; folders above it are made."""
    with appearing(path) as partial, partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file appears at `path` when the block has ended well, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{_partials(path)}{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(path: Path) -> None:
    """Remove what killed processes of this host have left of a file; nobody may be writing it."""
    for stale in path.parent.glob(f"{_partials(path)}*"):
        stale.unlink(missing_ok=True)


def _partials(path: Path) -> str:
    return f".{path.name}.partial-{platform.node()}-"  # hosts may share the folder


def append_lines(path: Path, values: Iterable[Any], *, durable: bool = False) -> None:
    """Append JSON values, a line each, in one write. durable: returns when they outlive the machine's crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(value)}\n" for value in values).encode()
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a killed process left part of a line, even all of it: it was never read
                text = b" (cut short)\n" + text
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path, start: int = 0) -> tuple[list[Any], int]:
    """The values of the whole lines from a byte on, and the byte behind them. What is no JSON is left out."""
    values: list[Any] = []
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read()
    except FileNotFoundError:
        return values, start
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):
            values.append(json.loads(line))
    return values, start + len(whole)


def listed(folder: Path, pattern: str) -> list[Path]:
    """The paths in a folder that fit a glob pattern, in the order of their names."""
    return sorted(folder.glob(pattern))


@contextlib.contextmanager
def locked(path: Path, *, waits: bool) -> Iterator[None]:
    """Hold a file against all other processes, made for it; HeldError where another holds it, unless one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(path, timeout=-1 if waits else 0))
        except Timeout:
            raise HeldError(f"another process holds `{path}`") from None
        yield
