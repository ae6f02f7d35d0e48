"""Controls for label replacement: the arms, what is compared with what, and the script from members to files."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import controls as script_of_controls
from larvae.config import FORMAT, MemberConfig
from larvae.errors import InvalidInputError
from sweeps.analysis.controls import Controls, contrasts_frame, controls, table
from sweeps.analysis.figures.control_figures import control_figure
from sweeps.control_sweep import PRESETS
from tests.analysis.invented import Member, frame
from tests.analysis.outcome import Script

EFFECTS = {"given": 0.1, "inferred": -0.05}
"""Of τ = 1 on MIG."""


def members(seeds: int = 4, z_dims: tuple[int, ...] = (5, 0)) -> list[Member]:
    """All arms; a detached nuisance takes half of the effect away. Seeds differ in how much they gain."""
    values = PRESETS["laptop"].values
    configs = [
        MemberConfig(tau=tau, replacement=replacement, detach_nuisance=detached, z_dim=z_dim, seed=seed)
        for seed, z_dim, tau, replacement, detached in product(
            range(seeds), z_dims, values["tau"], values["replacement"], values["detach_nuisance"]
        )
    ]
    effect = {c: c.tau * EFFECTS[c.replacement] * (0.5 if c.detach_nuisance else 1) for c in configs}
    noise = np.random.default_rng(0).normal(0, 0.01, len(configs))
    return [Member(c, effect=effect[c] + n) for c, n in zip(dict.fromkeys(configs), noise, strict=False)]


@pytest.fixture(scope="module")
def found() -> Controls:
    return controls("study", frame(members()))


def test_arms_are_the_baseline_larvae_and_controls_each_once(found: Controls) -> None:
    """Settings without effect make no arm of their own: neither of the baseline, nor of no nuisance."""
    assert [arm.name for arm in found.arms] == [
        "baseline, τ = 0",
        "LaRVAE, τ = 1",
        "LaRVAE, z detached, τ = 1",
        "inferred label, τ = 1",
        "inferred label, z detached, τ = 1",
        "baseline, τ = 0, dim z = 0",
        "LaRVAE, τ = 1, dim z = 0",
        "inferred label, τ = 1, dim z = 0",
    ]
    assert all(len(result.results) == result.num_planned == 4 for result in found.results)
    assert "inferred label, τ = 1" in table(found)


def test_arms_of_other_sizes_of_z_have_names_of_their_own() -> None:
    arms = controls("study", frame(members(z_dims=(5, 10, 0)))).arms
    names = [arm.name for arm in arms]
    assert len(set(names)) == len(names)
    assert "LaRVAE, τ = 1, dim z = 10" in names


def test_all_arms_meet_the_baseline_and_larvae_its_controls_seed_by_seed(found: Controls) -> None:
    some = [c for c in found.contrasts if c.metric == "mig"]
    names = {(c.first.name, c.second.name) for c in some if c.first.z_dim}
    baseline, larvae = "baseline, τ = 0", "LaRVAE, τ = 1"
    others = {"inferred label, τ = 1", "inferred label, z detached, τ = 1", "LaRVAE, z detached, τ = 1"}
    assert names == {(arm, baseline) for arm in others | {larvae}} | {(larvae, arm) for arm in others}
    assert all(c.first.z_dim == c.second.z_dim for c in found.contrasts)
    results = {result.arm.name: np.array(result.results) for result in found.of_metric("mig")}
    for c in some:
        first, second = results[c.first.name], results[c.second.name]
        assert c.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)
        assert c.difference.mean == pytest.approx((first - second).mean())
        assert c.p_holm >= c.p_value
    rows = contrasts_frame(found)
    assert len(rows) == len(found.contrasts)


def test_seeds_of_one_side_are_left_out_and_one_pair_is_no_test() -> None:
    two = frame(members(2, (5,)))
    two.loc[(two["replacement"] == "inferred") & (two["seed"] == 1), "status"] = "FAILED"
    found = controls("study", two)
    pairs = {c.num_pairs for c in found.contrasts if "inferred" in (c.first.replacement, c.second.replacement)}
    assert pairs == {1}
    assert all(math.isnan(c.p_value) for c in found.contrasts if c.num_pairs == 1)
    assert "1/2" in table(found)


def test_studies_without_a_baseline_or_that_vary_more_are_refused() -> None:
    known = frame(members(1, (5,)))
    with pytest.raises(InvalidInputError, match="must have the baseline"):
        controls("study", known[known["tau"] > 0])
    with pytest.raises(InvalidInputError, match=r"must vary tau, .* varies alpha$"):
        controls("study", pd.concat([known, known.assign(alpha=64.0)]))
    with pytest.raises(InvalidInputError, match="must have a finished member with results"):
        controls("study", known.assign(mig=math.nan, l2=math.nan))


def test_the_figure_has_a_row_an_arm_and_a_panel_a_metric(found: Controls) -> None:
    figure = control_figure(found)
    assert len(figure.axes) == 2
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == [arm.name for arm in found.arms]
    for ax in figure.axes:
        assert len(ax.collections) == len(found.arms)


@pytest.mark.usefixtures("undrawn")
def test_the_script_takes_kept_results(script: Script, tmp_path: Path) -> None:
    kept = tmp_path / "control"
    kept.mkdir()
    for member in members(2, (5,)):
        row = {"iteration": 10, "mig": member.mig, "mig_y": member.mig, "mig_aligned": member.mig, "l2": member.l2}
        result = {"format": FORMAT, "status": "finished", "reason": "", "history": [row]}
        path = kept / f"{member.config.content_hash}.json"
        path.write_text(json.dumps(result | {"config": member.config.to_dict()}))
    drawing = script.of(script_of_controls.main, "--kept", str(kept))
    printed, _ = drawing.succeed()
    assert "LaRVAE, τ = 1 − inferred label, τ = 1" in printed
    assert drawing.names() == ["controls.csv", "controls.pdf", "controls.png", "controls_members.csv"]
    drawing.refuse(
        {
            "--where tau=1": "must have the baseline",
            "--where tau=7": "must name one of",
            "--study a": "`study` must be left out with --kept, got a$",
        }
    )
