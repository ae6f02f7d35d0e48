"""Files appear whole or not at all, and damaged ones are told from whole ones."""

from __future__ import annotations

import errno
import json
import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from larvae.advice import Advice
from larvae.checkpoint import DamagedCheckpointError, load_checkpoint, previous, save_checkpoint, whole_checkpoint
from larvae.errors import InvalidInputError
from larvae.files import load_json, save_bytes, save_json

STATE = {"iteration": 7, "history": [{"loss": 0.5}], "model": OrderedDict(weight=torch.arange(1000.0))}


def test_files_round_trip(tmp_path: Path) -> None:
    path, result, picture = (tmp_path / "new" / name for name in ("checkpoint.pt", "result.json", "picture.png"))
    save_checkpoint(path, STATE)
    state = load_checkpoint(path)
    assert torch.equal(state["model"].pop("weight"), STATE["model"]["weight"])
    assert state == {"iteration": 7, "history": [{"loss": 0.5}], "model": OrderedDict()}
    save_json(result, {"status": "finished", "history": [1.5]})
    assert load_json(result) == json.loads(result.read_text()) == {"status": "finished", "history": [1.5]}
    for content in (b"\x89PNG\r\n", b""):
        save_bytes(picture, content)
        assert picture.read_bytes() == content
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, result.name, picture.name}


@pytest.mark.parametrize("save", [save_checkpoint, save_json])
def test_saving_again_replaces_the_file_at_once_or_not_at_all(
    tmp_path: Path, save: Callable[[Path, object], None]
) -> None:
    """A reader of the former file reads it to its end: it is never written into."""
    path = tmp_path / "file"
    save(path, {"iteration": 1})
    before = path.read_bytes()
    with pytest.raises((TypeError, AttributeError), match=r"pickle|serializable"):
        save(path, {"iteration": 2, "unsuitable": lambda: None})
    assert path.read_bytes() == before
    with path.open("rb") as former:
        save(path, {"iteration": 2})
        assert former.read() == before
    assert path.read_bytes() != before
    kept = {"file.previous"} if save is save_checkpoint else set()
    assert {entry.name for entry in tmp_path.iterdir()} == {"file"} | kept
    assert all((tmp_path / name).read_bytes() == before for name in kept)


def test_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    data = path.read_bytes()
    for damaged in (
        *(data[:length] for length in (0, 100, len(data) // 2, len(data) - 1)),
        b"this is not a checkpoint",
        bytes(len(data)),
        b"\x80\x02.",  # a pickle that pops an empty stack
        b"\x80\x02X\x01\x00\x00\x00\xff.",  # a pickle of a string that is not UTF-8
        b"\x80\x02h\x05.",  # a pickle that recalls what it never stored
        data.replace(b"little", b"l@ttle"),  # the byte order that a checkpoint names
        None,
    ):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=r"^`[^\n]+` must be a whole checkpoint, but: [^\n]+$") as caught:
            load_checkpoint(path)
        assert str(path) in str(caught.value)


@pytest.mark.fault("a flipped bit of a checkpoint", "noticed; never trained on")
def test_no_bit_that_has_changed_is_overlooked(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    data, generator = path.read_bytes(), random.Random(0)
    positions = (*generator.sample(range(len(data)), 300), *range(len(data) - 80, len(data)))
    record_property("times", len(positions))
    for position in positions:
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << generator.randrange(8)]) + data[position + 1 :])
        with pytest.raises(DamagedCheckpointError):
            load_checkpoint(path)


@pytest.mark.fault("the newest checkpoint damaged, or gone", "told; the one before is used")
def test_where_the_newest_is_damaged_or_gone_the_one_before_is_found_and_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for number in range(2):
        save_checkpoint(path, {"number": number})
    assert whole_checkpoint(path) == path
    path.write_bytes(path.read_bytes()[:-1])
    for told in ("its checksum is another's", "no such file"):
        with pytest.warns(Advice, match=rf"^`{path}` must be a whole checkpoint, but: {told}: the one before is used$"):
            assert load_checkpoint(whole_checkpoint(path)) == {"number": 0}
        path.unlink(missing_ok=True)
    previous(path).write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match=rf"^`{path}` must be"):
        whole_checkpoint(path)


def test_what_is_no_damage_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole file of something else, one that this PyTorch cannot read, and a file system that fails."""
    path = tmp_path / "checkpoint.pt"
    torch.save([1, 2], path)
    with pytest.raises(InvalidInputError, match="it holds a list") as caught:
        load_checkpoint(path)
    assert type(caught.value) is InvalidInputError
    save_checkpoint(path, {"iteration": Exploit()})
    with pytest.raises(InvalidInputError, match="must be a whole checkpoint, but: ") as caught:
        load_checkpoint(path)
    assert type(caught.value) is InvalidInputError

    def fail(*_: object) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Stale"):
        load_checkpoint(path)


def test_a_checkpoint_of_an_earlier_version_which_has_no_checksum_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "checkpoint.pt")
    assert load_checkpoint(tmp_path / "checkpoint.pt")["iteration"] == 7


class Exploit:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("touched"),)


def test_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"iteration": Exploit()}, "checkpoint.pt")
    with pytest.raises(InvalidInputError, match=r"^[^\n]+$"):
        load_checkpoint(Path("checkpoint.pt"))
    assert not Path("touched").exists()
