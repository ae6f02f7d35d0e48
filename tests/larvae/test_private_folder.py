"""The folder that nobody else can enter, whoever has been at its place before."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from larvae.errors import InvalidInputError
from larvae.private_folder import make_private_folder, private_folder


def test_it_is_its_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    folder = make_private_folder(tmp_path)
    assert folder == private_folder(tmp_path)
    folder.chmod(0o777)
    assert make_private_folder(tmp_path) == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_another_users_folder_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_private_folder(tmp_path)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    private_folder(tmp_path).parent.joinpath(f"larvae-{uid}").rename(private_folder(tmp_path))
    with pytest.raises(InvalidInputError, match=f"must be a folder of your own, .* of user {uid}: have it removed"):
        make_private_folder(tmp_path)


def test_no_link_is_followed_and_no_file_taken(tmp_path: Path) -> None:
    """Another user could have made either; theirs would lead to a place that they can write to."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    private_folder(tmp_path).symlink_to(elsewhere)
    with pytest.raises(InvalidInputError, match="must be a folder of your own"):
        make_private_folder(tmp_path)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    private_folder(tmp_path).unlink()
    private_folder(tmp_path).touch()
    with pytest.raises(InvalidInputError, match="must be a folder of your own"):
        make_private_folder(tmp_path)


def test_a_disk_that_can_only_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InvalidInputError, match="` cannot be written: Read-only file system; have it mounted for wr"):
        make_private_folder(tmp_path)
