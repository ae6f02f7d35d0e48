"""Ray's token: found where Ray looks for it, made for its owner alone, refused where it protects nothing."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from cluster import ray_token
from larvae import private_folder
from larvae.errors import InvalidInputError
from sweeps.driver import tokens
from sweeps.driver.tokens import find_or_make_token, find_token, how_to_read_token


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and no variables."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")  # set, so that what is set meanwhile is taken back
    monkeypatch.setattr(tokens, "make_private_folder", lambda: private_folder.make_private_folder(tmp_path))
    return home


@pytest.fixture
def file(home: Path) -> Path:
    """The file where Ray looks, with a token."""
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.touch(mode=0o600)
    path.write_text(" abc\n")
    return path


def refusal() -> str:
    with pytest.raises(InvalidInputError) as caught:
        find_or_make_token()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_one_is_long_its_owners_alone_and_the_same_for_all_that_start_at_once(home: Path) -> None:
    assert find_token() is None
    start, found = threading.Barrier(8), []

    def make() -> None:
        start.wait()
        found.append(find_or_make_token())

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = found[0]
    assert found == [made] * 8
    assert find_or_make_token() == find_token() == made
    assert made.path == home / ".ray" / "auth_token"
    assert len(made.value) >= 32
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(made.path)  # Ray's C++ knows no home but $HOME
    assert list(made.path.parent.iterdir()) == [made.path]


def test_a_home_that_takes_none_is_done_without(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing here; a read-only one is the same to everybody but root."""
    home.rmdir()
    made = find_or_make_token()
    assert made.path == private_folder.private_folder(tmp_path) / "auth_token"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    assert find_or_make_token() == made, "the next command has the same"
    assert how_to_read_token() == f"cat {made.path}"


def test_the_order_is_rays(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_token() == ("abc", file)
    other = tmp_path / "other"
    other.touch(mode=0o600)
    other.write_text("def")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert find_token() == ("def", other)
    monkeypatch.setenv("RAY_AUTH_TOKEN", " ghi ")
    assert find_token() == find_or_make_token() == ("ghi", None)
    assert how_to_read_token() == "echo $RAY_AUTH_TOKEN"


def test_one_that_others_can_read_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But a group may read what an administrator gives it: a Kubernetes secret, say, of root and the pod's group."""
    for mode in (0o644, 0o640, 0o604, 0o620):
        file.chmod(mode)
        rule = f"Ray's token must be readable by its owner alone, got `{file}` of mode {mode:04o}: `chmod 600 {file}`"
        assert refusal().startswith(rule)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    file.chmod(0o640)
    assert find_token() == ("abc", file)
    file.chmod(0o644)
    assert "by its owner alone" in refusal()


def test_what_is_no_token_is_refused_unseen(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("se cret", "se\ncret", "sécret", "se\x00cret", "\xff\xfe"):
        file.write_text(value, encoding="latin-1")
        message = refusal()
        assert "must be one word of ASCII characters" in message
        assert "cret" not in message
    file.write_text("  \n")
    assert f"must not be empty, but `{file}` is: " in refusal()
    for path, fault in ((tmp_path / "nowhere", "No such file"), (tmp_path, "it is none"), (Path("/dev/null"), "none")):
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        message = refusal()
        assert f"must be a file that you can read, got `{path}`: " in message
        assert fault in message
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    assert refusal().endswith("must not be empty, but `RAY_AUTH_TOKEN` is: set it anew, or unset it")


def test_the_command_makes_one_tells_where_and_shows_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInputError, match="must be the head's, got none"):
        ray_token.run(["--no-make"])
    assert ray_token.run([]) == 0
    file = home / ".ray" / "auth_token"
    assert f"Ray's token: {file}, for you alone" in capsys.readouterr().out
    assert ray_token.run(["--show", "--no-make"]) == 0
    assert capsys.readouterr().out == file.read_text() + "\n"
