"""Checks that files are the published ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

from larvae.errors import InvalidInputError


def of_file(path: Path, algorithm: str) -> str:
    """A file's digest, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def require_checksum(what: str, path: Path, checksum: tuple[str, str]) -> str:
    """Return a file's digest; InvalidInputError where it cannot be read or is not the published one.

    what: what the file is, in words. checksum: algorithm and digest of the published file.
    """
    algorithm, expected = checksum
    try:
        digest = of_file(path, algorithm)
    except OSError as error:
        raise InvalidInputError(f"{what} must be readable, got `{path}`: {error.strerror}") from None
    if digest != expected:
        raise InvalidInputError(
            f"`{path}` must have {algorithm} {expected}, got {digest}: truncated or not the published file"
        )
    return digest
