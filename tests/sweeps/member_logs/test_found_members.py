"""Members of studies whose record is damaged."""

from __future__ import annotations

from pathlib import Path

from larvae.errors import InvalidInputError
from larvae.files import save_json
from sweeps.member_logs.found_members import find_members


def test_names_that_are_no_hashes_are_left_out(tmp_path: Path) -> None:
    """A quotation mark that is lost makes one name of half the record, which no folder can have."""
    member = {"label": "tau=1", "config": {}}
    names = ("abc123", "a" * 300, '{"label": "tau', "../other", "")
    parts: dict[str, object] = {"fixed": {}, "fingerprints": {}, "schedule": {}}
    save_json(tmp_path / "study" / "study.json", parts | {"members": dict.fromkeys(names, member)})
    assert [found.name for found in find_members(tmp_path)] == ["abc123"]


def test_an_error_is_one_line_whatever_the_value() -> None:
    assert str(InvalidInputError("got a\nb\u2028c\rd")) == "got a b c d"
