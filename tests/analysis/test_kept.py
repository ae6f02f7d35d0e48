"""Kept results, as the table and the figure that a study in MLflow gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import label_rates, sensitivity
from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.files import load_json, save_json
from larvae.member_directory import MemberDirectory
from sweeps.analysis.load_kept import load_kept, with_planned
from tests.analysis.outcome import Script

MEMBERS = [MemberConfig(tau=tau, alpha=alpha, seed=s) for tau in (0.0, 1.0) for alpha in (1.0, 64.0) for s in (0, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results as `sweeps/kept_study.py` writes them; MIG grows with τ and with iterations."""
    return keep(MEMBERS, tmp_path)


def keep(members: Sequence[MemberConfig], tmp_path: Path) -> Path:
    for member in members:
        rows = [
            {"iteration": i, "loss": 1.0, "mig": 0.1 * (1 + member.tau) * i / 2 + 0.01 * member.seed} for i in (1, 2)
        ]
        directory = MemberDirectory(tmp_path / "written" / member.content_hash)
        directory.write_result(member, "finished", [{"iteration": 0, "loss": 2.0}, *rows])
        save_json(tmp_path / f"mine/{member.content_hash}.json", directory.read_result())
    return tmp_path / "mine"


def test_kept_results_are_a_table_of_members_at_the_end_or_on_the_way(folder: Path) -> None:
    for given, iterations in ((None, 2), (2, 2), (1, 1)):
        members = load_kept(folder, given)
        assert set(members["hash"]) == {member.content_hash for member in MEMBERS}
        assert set(members["status"]) == {"FINISHED"}
        assert set(members["iterations"]) == {iterations}
        assert np.allclose(members["mig"], 0.05 * iterations * (1 + members["tau"]) + 0.01 * members["seed"])
        assert members["l2"].isna().all()


def test_what_a_plan_has_and_nobody_has_trained_is_told_as_missing(folder: Path) -> None:
    """Members that have ended stay as they are, and lists and settings without effect are alike in both."""
    ended = load_kept(folder)
    waiting = MemberConfig(tau=1.0, alpha=64.0, seed=2, observed_factors=("scale", "shape"))
    members = with_planned(ended, [*MEMBERS, waiting])
    assert list(members["hash"][members["status"] == "SCHEDULED"]) == [waiting.content_hash]
    assert members[members["status"] == "SCHEDULED"][["mig", "l2"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(
        members[members["status"] == "FINISHED"].reset_index(drop=True)[ended.columns], ended, check_dtype=False
    )
    assert members["observed_factors"].iloc[-1] == "shape scale"


def test_lists_are_written_as_mlflow_has_them(tmp_path: Path) -> None:
    members = load_kept(keep([MemberConfig(observed_factors=("scale", "shape")), MemberConfig()], tmp_path))
    assert sorted(members["observed_factors"]) == ["", "shape scale"]


def test_what_is_not_there_or_of_an_earlier_format_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"`iterations` must be one of 1, 2, where .* got 7"):
        load_kept(folder, iterations=7)
    with pytest.raises(InvalidInputError, match="`kept` must be a folder with results of members"):
        load_kept(tmp_path / "nothing")
    path = next(folder.glob("*.json"))
    save_json(path, {name: value for name, value in load_json(path).items() if name != "format"})
    with pytest.raises(InvalidInputError, match="was written in format 1"):
        load_kept(folder)


@pytest.mark.usefixtures("undrawn")
def test_kept_label_rates_are_compared_like_those_of_mlflow(tmp_path: Path, script: Script) -> None:
    rates = [dataclasses.replace(m, label_rate=rate) for m in MEMBERS if m.alpha == 1 for rate in (0.01, 0.025)]
    drawing = script.of(label_rates.main, "--kept", str(keep(rates, tmp_path)))
    printed, _ = drawing.succeed()
    assert printed.startswith("mine: 2 iterations")
    compared = pd.read_csv(script.folder / "figures/label_rates.csv")
    assert list(compared["mean_difference"].dropna()) == pytest.approx([0.1, 0.1])
    drawing.refuse({"--study a": "`study` must be left out with --kept, got a"})


@pytest.mark.usefixtures("undrawn")
def test_the_figure_of_kept_results_has_its_settings_and_differences(folder: Path, script: Script) -> None:
    script.of(sensitivity.main, "--kept", str(folder)).succeed()
    differences = pd.read_csv(script.folder / "figures/tau_sensitivity_differences.csv")
    assert list(differences["alpha"]) == [1, 64]
    assert list(differences["mean_difference"]) == pytest.approx([0.1, 0.1])
    assert set(pd.read_csv(script.folder / "figures/tau_sensitivity.csv")["alpha"]) == {1, 64}
