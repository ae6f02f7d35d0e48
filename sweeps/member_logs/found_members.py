"""Members on disk, and which one is meant."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from larvae.errors import InvalidInputError
from larvae.files import listed
from larvae.member_directory import MemberDirectory
from sweeps.study import StudyDirectory, require_name
from sweeps.trial.member_log import MemberLog

_MOST_DIGITS = 100
"""Length beyond which a name is no member's hash, nor could it be a folder's: its study's record is damaged."""


class FoundMember(NamedTuple):
    """A member on disk."""

    study: str
    label: str
    name: str
    """Its content hash."""
    files: MemberDirectory

    @property
    def log(self) -> MemberLog:
        return MemberLog(self.files.path)


def find_members(storage: Path, study: str = "") -> Iterator[FoundMember]:
    """All members of studies below a folder. Raises InvalidInputError where none is such a study, or one is damaged."""
    if study:
        require_name(study)
    records = listed(storage, f"{glob.escape(study) or '*'}/study.json")
    if not records:
        known = ", ".join(file.parent.name for file in listed(storage, "*/study.json")) or "none"
        raise InvalidInputError(f"`storage_path` must hold the study, got `{storage}`, which holds {known}")
    for record in records:
        members = (StudyDirectory(record.parent).read_record() or {}).get("members", {})
        for name, member in members.items():
            if not name.isalnum() or len(name) > _MOST_DIGITS:
                continue
            files = MemberDirectory(record.parent / "members" / name)
            yield FoundMember(record.parent.name, member["label"], name, files)


def choose(members: Sequence[FoundMember], wanted: str) -> FoundMember:
    """The one member that is meant, by the start of its hash or by its values.

    Raises InvalidInputError where none is, or several are.
    """
    words = wanted.split()
    by_hash = [member for member in members if member.name.startswith(wanted)]
    found = by_hash or [member for member in members if set(words) <= set(member.label.split())]
    if len(found) == 1:
        return found[0]
    rule = "`member` must be the start of one member's hash, or values that one member has"
    if not found:
        raise InvalidInputError(f"{rule}, got {wanted!r}, which none of {len(members)} has")
    some = ", ".join(f"{member.name} ({member.study}: {member.label})" for member in found[:4])
    raise InvalidInputError(f"{rule}, got {wanted!r}, which {len(found)} have: {some}{' …' * (len(found) > 4)}")
