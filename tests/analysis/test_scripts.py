"""The scripts of sensitivities and label rates: whole files and their numbers, or one line and nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from analysis import label_rates, search_report, sensitivity
from tests.analysis.invented import LABEL_RATES
from tests.analysis.outcome import Script

ENDS = (".csv", ".pdf", ".png", "_differences.csv", "_members.csv")
PICTURES = {".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.fixture
def sensitivities(script: Script, tracking_uri: str) -> Script:
    return script.of(sensitivity.main, "--tracking-uri", tracking_uri)


@pytest.fixture
def rates(script: Script, tracking_uri: str) -> Script:
    return script.of(label_rates.main, "--tracking-uri", tracking_uri)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "study"), [(sensitivity, "mixed"), (label_rates, "label-rates"), (search_report, "two-objectives")]
)
def test_as_commands_they_write_pictures(module: ModuleType, study: str, tracking_uri: str, tmp_path: Path) -> None:
    """Also in a notebook's shell, and on a terminal that cannot show τ."""
    command = [
        sys.executable,
        str(module.__file__),
        "--tracking-uri",
        tracking_uri,
        "--study",
        study,
        "--output",
        "new/figures",
    ]
    latin = "iso-8859-1"
    elsewhere = {"MPLBACKEND": "module://a_notebooks", "PYTHONIOENCODING": latin}
    run = subprocess.run(
        command, capture_output=True, encoding=latin, cwd=tmp_path, timeout=600, env={**os.environ, **elsewhere}
    )
    assert run.returncode == 0, run.stderr
    for path in (tmp_path / "new/figures").iterdir():
        assert f"new/figures/{path.name}" in run.stdout.splitlines()
        assert path.read_bytes().startswith(PICTURES.get(path.suffix, b""))
    assert not re.search(r"Traceback|Warning", run.stderr)


@pytest.mark.usefixtures("undrawn")
def test_the_sensitivity_has_its_numbers_and_missing_members_are_told(sensitivities: Script) -> None:
    printed, told = sensitivities.succeed("--study mixed", "new/figures")
    assert sensitivities.names("new/figures") == [f"tau_sensitivity{end}" for end in ENDS]
    folder = sensitivities.folder / "new/figures"
    assert len(pd.read_csv(folder / "tau_sensitivity.csv")) == 2 * 3 * 4
    statuses = pd.read_csv(folder / "tau_sensitivity_members.csv")["status"].value_counts().to_dict()
    assert statuses == {"FINISHED": 9, "FAILED": 1, "KILLED": 1, "SCHEDULED": 1}
    assert printed.startswith("mixed: dSprites, 1,000 iterations")
    assert "longer training may change any difference" in printed
    assert sorted(told.splitlines()) == [
        "missing: τ=0.5 η=0.01 seed 1 (FAILED: NonFiniteLossError: loss is nan)",
        "missing: τ=10 η=0.02 seed 0 (KILLED)",
        "missing: τ=10 η=0.02 seed 1 (SCHEDULED)",
    ]


@pytest.mark.usefixtures("undrawn")
def test_without_a_study_the_newest_of_the_parameter_is_drawn(sensitivities: Script) -> None:
    for parameter, study in (("tau", "latest-sweep"), ("z_dim", "z-dim-sweep")):
        printed, _ = sensitivities.succeed(f"--parameter {parameter}", parameter)
        assert printed.startswith(f"{study}: ")
        assert sensitivities.names(parameter) == [f"{parameter}_sensitivity{end}" for end in ENDS]


@pytest.mark.usefixtures("undrawn")
def test_several_studies_have_panels_of_their_own_in_one_figure_and_one_table(sensitivities: Script) -> None:
    printed, _ = sensitivities.succeed("--study mixed latest-sweep")
    for name in ("mixed", "latest-sweep"):
        assert f"mixed-latest-sweep: dSprites, 1,000 iterations, study = {name}; " in printed
    rows = pd.read_csv(sensitivities.folder / "figures/tau_sensitivity.csv")
    assert dict(rows.groupby("study")["tau"].nunique()) == {"latest-sweep": 3, "mixed": 3}


@pytest.mark.usefixtures("undrawn")
def test_label_rates_are_compared_in_each_metric(rates: Script) -> None:
    printed, told = rates.succeed()
    ends = (".csv", "_l2.pdf", "_l2.png", "_members.csv", "_mig.pdf", "_mig.png", "_spread.csv")
    assert rates.names() == [f"label_rates{end}" for end in ends]
    rows = pd.read_csv(rates.folder / "figures/label_rates.csv")
    assert list(rows["mean_difference"].abs()) == pytest.approx([0.1105] * 2 * 2 * 2)  # metrics, regularisers, rates
    assert rows["significant"].all()
    assert len(pd.read_csv(rates.folder / "figures/label_rates_members.csv")) == len(LABEL_RATES)
    assert printed.startswith("label-rates: 1,000 iterations")
    assert (sum(" * " in line for line in printed.splitlines()), told) == (8, "")
    printed, told = rates.succeed("--study mixed --tau 0.5", "one")
    assert "τ = 0.5" in printed
    assert told == "missing: dSprites β-TCVAE τ=0.5 η=0.01 seed 1 (FAILED: NonFiniteLossError: loss is nan)\n"
    assert set(pd.read_csv(rates.folder / "one/label_rates_members.csv")["tau"]) == {0, 0.5}


@pytest.mark.usefixtures("undrawn")
def test_bad_input_is_one_line_and_writes_nothing(sensitivities: Script, rates: Script, tmp_path: Path) -> None:
    without_results = "`study` must have a finished member with results, got unfinished with 2 FAILED"
    sensitivities.refuse(
        {
            "--parameter colour": "`parameter` must be one of dataset, .*, got colour$",
            "--parameter alpha": "must hold a study that varies alpha",
            "--where tau=7": "`where` must name one of 0, .* for tau, got 7$",
            "--iterations 5": "`iterations` must be left out without --kept, got 5$",
            "--study a b --kept c": "`study` must be left out with --kept, got a b$",
            "--study a a": "`study` must have different names, got a a$",
            "--kept b/a c/a": "`kept` must have different names, got a a$",
            "--parametre tau": "--parametre",
            "--study unknown": "`study` must be one of ",
            "--study unfinished": without_results,
            "--study z-dim-sweep": "must vary tau and, beside .*, nothing else, got z-dim-sweep that varies z_dim",
            "--study search": "nothing else, got search that varies tau, alpha",
            f"--tracking-uri sqlite:///{tmp_path}/missing.db": "`tracking_uri` must name MLflow's data",
        }
    )
    rates.refuse(
        {
            "--study unfinished": without_results,
            "--study z-dim-sweep": "must vary tau, label rate and seed only, got z-dim-sweep that varies z_dim",
            "--study mixed": "`tau` must be given for mixed, one of 0.5, 10, got none",
            "--tau high": "--tau",
        }
    )
    assert list(tmp_path.iterdir()) == []
    sensitivities.refuse_files("--study latest-sweep")


def test_a_folder_that_cannot_be_made_leaves_none_above_it(sensitivities: Script) -> None:
    sensitivities.refuse(
        {f"--output {sensitivities.folder}/new/{'x' * 300}": "must be a directory that can be written"}
    )
    assert not (sensitivities.folder / "new").exists()
