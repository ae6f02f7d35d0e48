"""Checks that files are the published ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

from larvae.datasets.specification import Specification
from larvae.errors import InvalidInputError


def of_file(path: Path, algorithm: str) -> str:
    """A file's digest, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def require_published(specification: Specification, path: Path) -> str:
    """Check that a file is one of those published of a data set; return its digest.

    Raises InvalidInputError when it is missing, of an unknown kind, truncated or altered.
    """
    label, checksums = specification.label, specification.checksums
    if path.suffix not in checksums:
        raise InvalidInputError(f"a file of {label} must end in {', '.join(checksums)}, got `{path}`")
    algorithm, expected = checksums[path.suffix]
    try:
        digest = of_file(path, algorithm)
    except OSError as error:
        raise InvalidInputError(f"a file of {label} must be readable, got `{path}`: {error.strerror}") from None
    if digest != expected:
        raise InvalidInputError(
            f"`{path}` must have {algorithm} {expected}, got {digest}: truncated or not the published file"
        )
    return digest
