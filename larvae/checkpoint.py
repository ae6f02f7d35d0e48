"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from larvae.errors import InvalidInputError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path` atomically."""
    content = io.BytesIO()  # into a file, PyTorch would hide the reason of a failure
    torch.save(state, content)
    _write_atomically(path, lambda file: file.write(content.getbuffer()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, tensors on the CPU; InvalidInputError if it is not that."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
        return state
    except Exception as error:  # a damaged file fails in as many ways as unpickling has steps
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise InvalidInputError(f"`{path}` must be a whole checkpoint, but: {reason}") from None


def save_json(path: Path, value: Any) -> None:
    """Write a JSON document to `path` atomically."""
    _write_atomically(path, lambda file: file.write(json.dumps(value, indent=1).encode()))


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
    _write_atomically(path, lambda file: file.write(content))


def _write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
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
