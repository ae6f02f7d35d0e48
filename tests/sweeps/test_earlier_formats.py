"""Files of an earlier version are refused in one line that names them: never read with today's meanings and defaults.

`tests/kept/b802cca` is a study that commit b802cca trained, for two iterations: τ ∈ {0, 1}, α = 64, a Gaussian around a
sigmoid. Of its checkpoint the tensors are left out, its MLflow database is a dump.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import h5py
import pytest

from analysis import sensitivity, traversals
from larvae import command_line, datasets
from larvae.errors import InvalidInputError
from larvae.member_directory import MemberDirectory
from larvae.resuming import checkpoint_config
from sweeps import logs, tau_sweep

KEPT = Path(__file__).parents[1] / "kept/b802cca"
RUN = "61aa47488bfd48899b404ca1db1d08e4"
MEMBER = "25b64eed40a2"
IN_FORMAT_1 = "in format 1, whose settings mean something else in 2"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The address of a database of MLflow's with the old study."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.executescript((KEPT / "mlflow.sql").read_text())
    return f"sqlite:///{tmp_path}/mlflow.db"


def refusal(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def sweep(*arguments: str) -> int:
    return command_line.run(lambda: tau_sweep.run(["--preset", "quick", *arguments]))


def test_a_sweep_does_not_go_on_with_an_old_study(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(KEPT / "study", tmp_path / "results/old")
    code = sweep("--study", "old", "--storage-path", str(tmp_path / "results"), "--tracking-uri", database)
    where = f"`{tmp_path}/results/old` was written"
    assert refusal(code, capsys) == f"{where} {IN_FORMAT_1}: give another --study"


@pytest.mark.usefixtures("ray_session")
def test_a_sweep_does_not_add_to_an_old_experiment(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose folder has been removed."""
    code = sweep("--study", "old", "--storage-path", str(tmp_path / "results"), "--tracking-uri", database)
    assert refusal(code, capsys) == f"MLflow's experiment old was written {IN_FORMAT_1}: give another --study"
    assert not (tmp_path / "results/old/study.json").exists()


@pytest.mark.parametrize("given", [[], ["--study", "old"]], ids=["the newest", "by name"])
@pytest.mark.parametrize("script", [sensitivity, traversals])
def test_no_figure_is_drawn_of_an_old_study(
    script: object, given: list[str], tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = script.main([*given, "--tracking-uri", database, "--output", str(tmp_path / "figures")])
    advice = "give another --study, or draw it with the version that trained it"
    assert refusal(code, capsys) == f"study old was written {IN_FORMAT_1}: {advice}"
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("given", [str(KEPT / "study/members" / MEMBER / "checkpoint.pt"), RUN])
def test_no_old_model_is_decoded(given: str, tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = traversals.main(["--larvae", given, "--tracking-uri", database, "--output", str(tmp_path / "figures")])
    line = refusal(code, capsys)
    assert given in line
    assert IN_FORMAT_1 in line


def test_an_old_checkpoint_is_not_gone_on_with() -> None:
    checkpoint = MemberDirectory(KEPT / "study/members" / MEMBER).checkpoint
    with pytest.raises(InvalidInputError, match=IN_FORMAT_1) as caught:
        checkpoint_config(checkpoint)
    assert str(checkpoint) in str(caught.value)


def test_old_images_are_not_used(tmp_path: Path) -> None:
    """Another rasteriser drew them: neither where they lie in the cache, nor as --data-file."""
    assert datasets.cached_path("dsprites").name != "dsprites-rendered.h5"
    path = tmp_path / "dsprites-rendered.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="larvae 1", dataset="dsprites", num_images=737_280, maximum=1, sha256="0" * 64)
    with pytest.raises(InvalidInputError) as caught:
        datasets.verify("dsprites", path)
    assert str(caught.value).startswith(f"`{path}` must be a whole prepared data set, but: ")
    assert "its format is larvae 1, not 2; the same command with the published file" in str(caught.value)


def test_logs_still_tell_of_an_old_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They give nothing a meaning."""
    shutil.copytree(KEPT / "study", tmp_path / "old")
    assert logs.run(["tau=1", "--storage-path", str(tmp_path)]) == 0
    assert "finished" in capsys.readouterr().out
