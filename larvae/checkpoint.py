"""Checkpoints as files: tensors and plain values, whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from larvae.errors import InvalidInputError
from larvae.files import write_atomically


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path` atomically."""
    content = io.BytesIO()  # into a file, PyTorch would hide the reason of a failure
    torch.save(state, content)
    write_atomically(path, lambda file: file.write(content.getbuffer()))


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
