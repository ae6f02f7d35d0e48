"""Checkpoints as files: tensors and plain values, whole or not at all, with a checksum and the one before."""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from larvae.advice import advise
from larvae.errors import InvalidInputError
from larvae.files import write_atomically

_CHECKSUM = b"\nsha256:"
"""Stands before the checksum, which follows PyTorch's file; those of earlier versions end with PyTorch's."""
_LENGTH = len(_CHECKSUM) + 2 * hashlib.sha256().digest_size
_END_OF_ZIP = b"PK\x05\x06"
"""Begins the last 22 bytes of PyTorch's file."""


class DamagedCheckpointError(InvalidInputError):
    """A checkpoint is not what was written: it has been cut off, say, or bits have changed."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path` atomically; the checkpoint that is there is kept as the previous one."""
    content = io.BytesIO()  # into a file, PyTorch would hide the reason of a failure
    torch.save(state, content)
    content.write(_CHECKSUM + hashlib.sha256(content.getbuffer()).hexdigest().encode())
    write_atomically(path, lambda file: file.write(content.getbuffer()), keep=previous(path))


def previous(path: Path) -> Path:
    """The file that keeps the checkpoint before the one at `path`."""
    return path.parent / f"{path.stem}.previous{path.suffix}"  # with_name raises for `.`


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, tensors on the CPU.

    Raises DamagedCheckpointError where it is not whole, InvalidInputError where it is and cannot be read all the same,
    by an older PyTorch say. Errors of the file system are the machine's, and no damage.
    """
    rule = f"`{path}` must be a whole checkpoint, but"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{rule}: no such file") from None
    whole, end = content[:-_LENGTH], content[-_LENGTH:]
    is_verified = end == _CHECKSUM + hashlib.sha256(whole).hexdigest().encode()
    if not is_verified and content[-22:-18] != _END_OF_ZIP:  # with which those of earlier versions end
        raise DamagedCheckpointError(f"{rule}: its checksum is another's")
    try:
        state = torch.load(io.BytesIO(whole if is_verified else content), map_location="cpu", weights_only=True)
    except MemoryError:  # no fault of the file's
        raise
    except Exception as error:  # a damaged file fails in as many ways as unpickling has steps
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise (InvalidInputError if is_verified else DamagedCheckpointError)(f"{rule}: {reason}") from None
    if not isinstance(state, dict):
        raise InvalidInputError(f"{rule}: it holds a {type(state).__name__}")
    return state


def whole_checkpoint(path: Path) -> Path:
    """The checkpoint at `path` or, where that is damaged, the one before, which is told.

    Raises DamagedCheckpointError where neither is whole.
    """
    try:
        load_checkpoint(path)
        return path
    except DamagedCheckpointError as error:
        with contextlib.suppress(DamagedCheckpointError):
            load_checkpoint(previous(path))
            advise(f"{error}: the one before is used")
            return previous(path)
        raise
