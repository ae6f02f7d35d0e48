"""The studies of a folder: how they stand, and how large they are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from larvae.files import listed
from sweeps.study import StudyDirectory


class FoundStudy(NamedTuple):
    """A study on disk."""

    name: str
    state: str
    """running, finished or unfinished."""
    members: int
    ended: int
    """Members that have ended, by whatever end."""
    size: int
    """Bytes of its files."""
    written_at: float
    """Seconds since the epoch at which a command last began it, or finished it."""


def found_studies(storage: Path) -> list[FoundStudy]:
    """The studies in a folder, by name. Raises InvalidInputError where a record is damaged."""
    return [_found(StudyDirectory(record.parent), record) for record in listed(storage, "*/study.json")]


def _found(directory: StudyDirectory, path: Path) -> FoundStudy:
    """A study. path: its record."""
    record = directory.read_record() or {}
    return FoundStudy(
        name=directory.path.name,
        state="running" if directory.is_held else "finished" if record.get("finished") else "unfinished",
        members=len(record.get("members", {})),
        ended=len(listed(directory.path, "members/*/result.json")),
        size=sum(_size(file) for file in listed(directory.path, "**/*") if not file.is_dir()),
        written_at=path.stat().st_mtime,
    )


def _size(file: Path) -> int:
    """The bytes of a file; 0 where it has gone since it was listed, as files do while a study trains."""
    try:
        return file.lstat().st_size
    except FileNotFoundError:
        return 0
