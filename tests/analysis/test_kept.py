"""Kept results, as the table and the figure that a study in MLflow gives; and their differences from the baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import sensitivity
from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.files import load_json, save_json
from larvae.member_directory import MemberDirectory
from sweeps.analysis.differences import differences_frame
from sweeps.analysis.load_kept import load_kept
from sweeps.analysis.parameters import TAU
from tests.analysis.invented import frame, grid

MEMBERS = [MemberConfig(tau=tau, alpha=alpha, seed=s) for tau in (0.0, 1.0) for alpha in (1.0, 64.0) for s in (0, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `sweeps/kept_study.py` writes; MIG grows with τ and with iterations."""
    for member in MEMBERS:
        rows = [
            {"iteration": i, "loss": 1.0, "mig": 0.1 * (1 + member.tau) * i / 2 + 0.01 * member.seed} for i in (1, 2)
        ]
        directory = MemberDirectory(tmp_path / "written" / member.content_hash)
        directory.write_result(member, "finished", [{"iteration": 0, "loss": 2.0}, *rows])
        save_json(tmp_path / f"mine/{member.content_hash}.json", directory.read_result())
    return tmp_path / "mine"


def test_kept_results_are_a_table_of_members(folder: Path) -> None:
    members = load_kept(folder)
    assert set(members["hash"]) == {member.content_hash for member in MEMBERS}
    assert set(members["status"]) == {"FINISHED"}
    assert set(members["iterations"]) == {2}
    assert np.allclose(members["mig"], 0.1 * (1 + members["tau"]) + 0.01 * members["seed"])
    assert members["l2"].isna().all()


def test_results_on_the_way_can_be_had(folder: Path) -> None:
    members = load_kept(folder, iterations=1)
    assert set(members["iterations"]) == {1}
    assert np.allclose(members["mig"], 0.05 * (1 + members["tau"]) + 0.01 * members["seed"])
    with pytest.raises(InvalidInputError, match=r"`iterations` must be one of 0, 1, 2, where .* got 7"):
        load_kept(folder, iterations=7)


def test_the_figure_of_kept_results_has_its_settings_and_differences(folder: Path, tmp_path: Path) -> None:
    assert sensitivity.main(["--kept", str(folder), "--output", str(tmp_path / "figures")]) == 0
    differences = pd.read_csv(tmp_path / "figures/tau_sensitivity_differences.csv")
    assert list(differences["alpha"]) == [1, 64]
    assert list(differences["mean_difference"]) == pytest.approx([0.1, 0.1])
    assert set(pd.read_csv(tmp_path / "figures/tau_sensitivity.csv")["alpha"]) == {1, 64}


def test_kept_results_of_an_earlier_format_or_none_are_refused(folder: Path, tmp_path: Path) -> None:
    path = next(folder.glob("*.json"))
    save_json(path, {name: value for name, value in load_json(path).items() if name != "format"})
    with pytest.raises(InvalidInputError, match="was written in format 1"):
        load_kept(folder)
    with pytest.raises(InvalidInputError, match="`kept` must be a folder with results of members"):
        load_kept(tmp_path / "nothing")


def test_each_value_is_compared_with_the_lowest_over_seeds_that_have_both() -> None:
    members = frame(grid((0, 1, 10), (0.01, 0.02), (0, 1, 2)))
    members["mig"] = 0.1 * members["tau"] + members["seed"] * (1 + 0.01 * members["tau"])
    members.loc[(members["tau"] == 10) & (members["seed"] == 2), "status"] = "FAILED"
    rows = differences_frame(members, TAU)
    mig = rows[(rows["metric"] == "mig") & (rows["label_rate"] == 0.01)]
    assert list(mig["tau"]) == [1, 10]
    assert set(mig["against"]) == {0}
    assert list(mig["num_pairs"]) == [3, 2]
    assert list(mig["mean_difference"]) == pytest.approx([0.1 + 0.01, 1 + 0.05])
    assert (mig["p_holm"] >= mig["p_value"]).all()
