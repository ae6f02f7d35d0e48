"""Lines and locks of folders that several processes share."""

from __future__ import annotations

from pathlib import Path

import pytest

from larvae.files import HeldError, append_lines, listed, locked, read_lines

VALUES = [{"iteration": n, "loss": 0.1 * n} for n in range(3)]


def test_lines_are_read_on_from_where_they_were_read_to(tmp_path: Path) -> None:
    path = tmp_path / "not yet there" / "rows.jsonl"
    assert read_lines(path) == ([], 0)
    append_lines(path, VALUES[:2])
    values, end = read_lines(path)
    assert values == VALUES[:2]
    assert read_lines(path, end) == ([], end)
    append_lines(path, VALUES[2:], durable=True)
    assert read_lines(path, end) == (VALUES[2:], path.stat().st_size)


def test_a_line_cut_short_anywhere_was_never_there_and_spoils_no_other(tmp_path: Path) -> None:
    """Also where only the end of its line is missing: whoever has read the file has not seen it, and never will."""
    path = tmp_path / "rows.jsonl"
    append_lines(path, VALUES)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        assert read_lines(path) == (VALUES[:2], start)
        append_lines(path, ["next"])
        assert read_lines(path, start)[0] == ["next"], whole[start:cut]


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with locked(path, waits=False), pytest.raises(HeldError), locked(path, waits=False):
        pass
    with locked(path, waits=True):
        assert listed(tmp_path, "*/.lock") == [path]
