from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis import label_rates
from tests.analysis.invented import LABEL_RATES

SCRIPT = Path(label_rates.__file__)
NAMES = [
    "label_rates.csv",
    "label_rates_l2.pdf",
    "label_rates_l2.png",
    "label_rates_members.csv",
    "label_rates_mig.pdf",
    "label_rates_mig.png",
    "label_rates_spread.csv",
]


def test_the_script_writes_figures_and_numbers(tracking_uri: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--tracking-uri", tracking_uri, "--output", "new/figures"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert run.returncode == 0, run.stderr
    output = tmp_path / "new" / "figures"
    assert sorted(path.name for path in output.iterdir()) == NAMES
    assert (output / "label_rates_mig.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "label_rates_l2.pdf").read_bytes().startswith(b"%PDF")
    rows = pd.read_csv(output / "label_rates.csv")
    assert len(rows) == 2 * 2 * 2  # metrics, regularisers, label rates
    assert list(rows["regulariser"].unique()) == ["beta_tcvae", "beta_vae"]
    assert list(rows["mean_difference"].abs().round(4).unique()) == [round((0.11 + 0.111 + 0.114) / 3, 4)]
    assert rows["significant"].all()
    assert len(pd.read_csv(output / "label_rates_members.csv")) == len(LABEL_RATES)
    lines = run.stdout.splitlines()
    assert lines[0] == "label-rates: 1,000 iterations"
    assert sum(" * " in line for line in lines) == 8
    assert sorted(lines[-7:]) == [f"new/figures/{name}" for name in NAMES]
    assert run.stderr == ""


def test_of_several_taus_one_can_be_drawn(
    tracking_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--tracking-uri", tracking_uri, "--study", "mixed", "--tau", "0.5", "--output", str(tmp_path)]
    assert label_rates.main(arguments) == 0
    printed = capsys.readouterr()
    assert "τ = 0.5" in printed.out
    assert printed.err.splitlines() == [
        "missing: dSprites β-TCVAE τ=0.5 η=0.01 seed 1 (FAILED: NonFiniteLossError: loss is nan)"
    ]
    assert set(pd.read_csv(tmp_path / "label_rates_members.csv")["tau"]) == {0, 0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "unknown"], "`study` must be one of "),
        (["--study", "unfinished"], "`study` must have a finished member with results, got unfinished with 2 FAILED"),
        (["--study", "z-dim-sweep"], "must vary tau, label rate and seed only, got z-dim-sweep that varies z_dim"),
        (["--study", "search"], "got search that varies tau, alpha"),
        (["--study", "mixed"], "`tau` must be given for mixed, one of 0.5, 10, got none"),
        (["--study", "mixed", "--tau", "2"], "`tau` must be one of 0.5, 10 for mixed, got 2"),
        (["--tau", "high"], "--tau"),
        (["--tracking-uri", "mlruns"], "`tracking_uri` must be sqlite:///FILE"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tracking_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = tmp_path / "figures"
    given = ["--tracking-uri", tracking_uri, "--output", str(output), *arguments]
    assert label_rates.main(given) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not output.exists()
