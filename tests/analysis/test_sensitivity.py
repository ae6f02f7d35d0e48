from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis import sensitivity

SCRIPT = Path(sensitivity.__file__)
NAMES = [f"tau_sensitivity{end}" for end in (".csv", ".pdf", ".png", "_differences.csv", "_members.csv")]


def test_the_script_writes_figure_and_numbers(tracking_uri: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPT),
        "--tracking-uri",
        tracking_uri,
        "--study",
        "mixed",
        "--output",
        "new/figures",
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert run.returncode == 0, run.stderr
    output = tmp_path / "new" / "figures"
    assert sorted(path.name for path in output.iterdir()) == NAMES
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (output / "tau_sensitivity.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "tau_sensitivity.pdf").read_bytes().startswith(b"%PDF")
    assert len(pd.read_csv(output / "tau_sensitivity.csv")) == 2 * 3 * 4
    members = pd.read_csv(output / "tau_sensitivity_members.csv")
    assert members["status"].value_counts().to_dict() == {"FINISHED": 9, "FAILED": 1, "KILLED": 1, "SCHEDULED": 1}
    lines = run.stdout.splitlines()
    assert lines[0].startswith("mixed: dsprites, 1,000 iterations")
    assert sorted(lines[-5:]) == [f"new/figures/{name}" for name in NAMES]
    assert sorted(run.stderr.splitlines()) == [
        "missing: τ=0.5 η=0.01 seed 1 (FAILED: NonFiniteLossError: loss is nan)",
        "missing: τ=10 η=0.02 seed 0 (KILLED)",
        "missing: τ=10 η=0.02 seed 1 (SCHEDULED)",
    ]


def test_without_a_study_the_newest_sweep_is_drawn(
    tracking_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sensitivity.main(["--tracking-uri", tracking_uri, "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("latest-sweep: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


def test_another_parameter_finds_its_study_and_names_its_files(
    tracking_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sensitivity.main(["--parameter", "z_dim", "--tracking-uri", tracking_uri, "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("z-dim-sweep: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [name.replace("tau", "z_dim") for name in NAMES]
    assert list(pd.read_csv(tmp_path / "z_dim_sensitivity_members.csv")["z_dim"]) == [0, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parameter", "alpha"], "`parameter` must be one of tau, z_dim, got alpha"),
        (["--parametre", "tau"], "--parametre"),
    ],
)
def test_a_command_line_that_says_nothing_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sensitivity.main(arguments) == 2
    assert_one_line(capsys, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ("unknown", "`study` must be one of "),
        ("unfinished", "`study` must have a finished member with results, got unfinished with 2 FAILED"),
        (
            "z-dim-sweep",
            "must vary tau and, beside label rate and seed, nothing else, got z-dim-sweep that varies z_dim",
        ),
        ("search", "nothing else, got search that varies tau, alpha"),
    ],
)
def test_a_study_that_cannot_be_drawn_is_one_line_and_writes_nothing(
    tracking_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], study: str, message: str
) -> None:
    output = tmp_path / "figures"
    assert sensitivity.main(["--tracking-uri", tracking_uri, "--study", study, "--output", str(output)]) == 2
    assert_one_line(capsys, message)
    assert not output.exists()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "sqlite:///missing.db", "mlruns"])
def test_tracking_that_cannot_be_read_is_one_line_and_writes_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    assert sensitivity.main(["--tracking-uri", uri]) == 2
    assert_one_line(capsys, "`tracking_uri` must ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_an_output_that_cannot_be_written_is_one_line(
    tracking_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    (tmp_path / "file").write_text("kept")
    assert sensitivity.main(["--tracking-uri", tracking_uri, "--output", str(tmp_path / output)]) == 2
    assert_one_line(capsys, "`output` must be a directory that can be written")
    assert (tmp_path / "file").read_text() == "kept"


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
