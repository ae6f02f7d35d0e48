"""Files appear whole or not at all, and damaged ones are told from whole ones."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from larvae.checkpoint import load_checkpoint, save_checkpoint
from larvae.errors import InvalidInputError
from larvae.files import save_bytes, save_json

STATE = {"iteration": 7, "history": [{"loss": 0.5}], "model": OrderedDict(weight=torch.arange(1000.0))}


def test_checkpoint_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.pt"
    save_checkpoint(path, STATE)
    state = load_checkpoint(path)
    assert torch.equal(state["model"].pop("weight"), STATE["model"]["weight"])
    assert state == {"iteration": 7, "history": [{"loss": 0.5}], "model": OrderedDict()}
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.pt"]


def test_json_round_trips(tmp_path: Path) -> None:
    save_json(tmp_path / "new" / "result.json", {"status": "finished", "history": [1.5]})
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == {"status": "finished", "history": [1.5]}


def test_bytes_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "picture.png"
    save_bytes(path, b"\x89PNG\r\n")
    assert path.read_bytes() == b"\x89PNG\r\n"
    save_bytes(path, b"")
    assert path.read_bytes() == b""
    assert [entry.name for entry in path.parent.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("save", [save_checkpoint, save_json])
def test_failed_save_leaves_the_former_file(tmp_path: Path, save: Callable[[Path, object], None]) -> None:
    path = tmp_path / "file"
    save(path, {"iteration": 1})
    before = path.read_bytes()
    with pytest.raises((TypeError, AttributeError), match=r"pickle|serializable"):
        save(path, {"iteration": 2, "unsuitable": lambda: None})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("save", [save_checkpoint, save_json])
def test_saving_again_replaces_the_file_at_once(tmp_path: Path, save: Callable[[Path, object], None]) -> None:
    """Who has the former file open reads it to its end: it is never written into."""
    path = tmp_path / "file"
    save(path, {"iteration": 1})
    before = path.read_bytes()
    with path.open("rb") as former:
        save(path, {"iteration": 2})
        assert former.read() == before
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"this is not a checkpoint",
        lambda data: bytes(len(data)),
        lambda data: b"\x80\x02.",  # a pickle that pops an empty stack
        lambda data: b"\x80\x02X\x01\x00\x00\x00\xff.",  # a pickle of a string that is not UTF-8
        lambda data: b"\x80\x02h\x05.",  # a pickle that recalls what it never stored
        lambda data: data.replace(b"little", b"l@ttle"),  # the byte order that a checkpoint names
    ],
    ids=[
        "empty",
        "beginning",
        "half",
        "all but a byte",
        "text",
        "zeros",
        "empty stack",
        "not UTF-8",
        "nothing stored",
        "byte order",
    ],
)
def test_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+` must be a whole checkpoint, but: [^\n]+$") as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_missing_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+missing.pt` must be a whole checkpoint, but: [^\n]+$"):
        load_checkpoint(tmp_path / "missing.pt")


class Exploit:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("touched"),)


def test_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"iteration": Exploit()}, "checkpoint.pt")
    with pytest.raises(InvalidInputError, match=r"^[^\n]+$"):
        load_checkpoint(Path("checkpoint.pt"))
    assert not Path("touched").exists()
