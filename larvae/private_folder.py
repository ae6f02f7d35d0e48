"""A folder below `/tmp` for what must be nobody else's: code that is about to be loaded, sockets, tokens."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from larvae.errors import InvalidInputError, in_words, is_of_disk

TEMPORARY = Path("/tmp")
"""Parent of private folders. Not `$TMPDIR`: paths of sockets must be short."""


def private_folder(parent: Path = TEMPORARY) -> Path:
    """The path of the private folder."""
    return parent / f"larvae-{os.getuid()}"


def make_private_folder(parent: Path = TEMPORARY) -> Path:
    """Make it, unless it is there. Raises InvalidInputError where another user has taken its name."""
    folder = private_folder(parent)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise InvalidInputError(_refusal(folder, f"a file, link or folder of user {found.st_uid}"))
        folder.chmod(0o700)
    except OSError as error:
        if is_of_disk(error):
            raise InvalidInputError(in_words(error)) from None
        raise InvalidInputError(_refusal(folder, error.strerror or str(error))) from None
    return folder


def _refusal(folder: Path, fault: str) -> str:
    return f"`{folder}` must be a folder of your own, for sockets and code, got {fault}: have it removed"
