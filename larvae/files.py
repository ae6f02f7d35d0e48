"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from larvae.errors import InvalidInputError


def save_json(path: Path, value: Any) -> None:
    """Write a JSON document to `path` atomically."""
    write_atomically(path, lambda file: file.write(json.dumps(value, indent=1).encode()))


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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{platform.node()}-{os.getpid()}")  # hosts may share the folder
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
