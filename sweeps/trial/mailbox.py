"""Members that a search hands to a trial while it runs, and those that it takes from it: a line each, in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from larvae.config import MemberConfig
from larvae.files import append_lines, read_lines


class News(NamedTuple):
    """Lines that have come since a place in the file."""

    taken: list[MemberConfig]
    """Members to take on."""
    dropped: list[str]
    """Content hashes of members to let go of, as they are."""
    place: int
    """Place up to which all has been read."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The file of one trial. A process that takes the place of another reads it from the start."""

    path: Path

    def send(self, taken: Iterable[MemberConfig] = (), dropped: Iterable[str] = ()) -> None:
        """Append lines; the trial reads them before its next step."""
        lines: list[dict[str, Any]] = [{"drop": name} for name in dropped]
        lines += [{"take": member.to_dict()} for member in taken]
        if lines:
            append_lines(self.path, lines)

    def news(self, place: int) -> News:
        """Lines that have come since a place, 0 being the start. A member that is dropped later is not taken."""
        lines, place = read_lines(self.path, place)
        dropped = [line["drop"] for line in lines if "drop" in line]
        taken = [MemberConfig.from_dict(line["take"]) for line in lines if "take" in line]
        return News([member for member in taken if member.content_hash not in dropped], dropped, place)
