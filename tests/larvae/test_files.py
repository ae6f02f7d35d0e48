"""Lines and locks of folders that several processes share."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from larvae.errors import in_words, one_line
from larvae.files import HeldError, append_lines, listed, locked, read_lines, save_bytes, write_atomically

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
        append_lines(path, [{"next": 1}])
        assert read_lines(path, start)[0] == [{"next": 1}], whole[start:cut]


def test_a_file_for_which_there_is_no_room_is_named_and_the_one_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    save_bytes(path, b"before")

    def fill(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as raised:
        write_atomically(path, fill)
    assert in_words(raised.value) == f"`{path}` cannot be written: No space left on device; make room there"
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="No space") as raised:
        append_lines(Path("/dev/full"), VALUES)
    assert one_line(raised.value) == "OSError: `/dev/full` cannot be written: No space left on device; make room there"


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with locked(path, waits=False), pytest.raises(HeldError), locked(path, waits=False):
        pass
    with locked(path, waits=True):
        assert listed(tmp_path, "*/.lock") == [path]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_a_file_system_has_no_locks_a_file_marks_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A dead one of this host is taken over; one of another host is named, with what to do."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / ".lock"
    marker = tmp_path / ".lock.held"
    with locked(path, waits=False):
        with pytest.raises(HeldError, match=rf"process {os.getpid()} on {platform.node()} since 20") as raised:
            locked(path, waits=False).__enter__()
        assert f"delete `{marker}`" in str(raised.value)
        words = marker.read_text()
    assert not marker.exists()
    dies = f"import os; from filelock import SoftFileLock; lock = SoftFileLock({str(marker)!r}).acquire(); os._exit(1)"
    subprocess.run([sys.executable, "-c", dies], check=False)
    assert marker.exists()
    with locked(path, waits=False):
        pass
    marker.write_text(words.replace(platform.node(), "another-host"))
    with pytest.raises(HeldError):
        locked(path, waits=False).__enter__()
    marker.unlink()
    with locked(path, waits=False):
        pass


def test_whoever_waits_for_a_lock_says_for_whom(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ".lock"
    holder = (
        "import sys, pathlib; from larvae.files import locked\nwith locked(pathlib.Path(sys.argv[1]), waits=True):\n"
    )
    command = [sys.executable, "-c", f"{holder}    print('held', flush=True); sys.stdin.read()", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        printed: list[str] = []

        def let_go_once_told() -> None:
            deadline = time.monotonic() + 30
            while not printed and time.monotonic() < deadline:
                time.sleep(0.02)
                printed.extend(filter(None, [capfd.readouterr().err]))
            other.stdin.close()  # type: ignore[union-attr]

        threading.Thread(target=let_go_once_told, daemon=True).start()
        with locked(path, waits=True):
            told = f"Waiting for `{path}`, which is held by process {other.pid} on {platform.node()} since"
            assert "".join(printed).startswith(told)
