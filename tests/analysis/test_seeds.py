"""The variance over crossed seeds: parts that are known, gaps, and the script on a study in MLflow."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import seeds as script_of_seeds
from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.analysis.load import distinct_members
from sweeps.analysis.seeds import Components, components, components_table
from tests.analysis.invented import Member, frame
from tests.analysis.outcome import Script


def crossed(label_sets: int, models: int, **fields: Any) -> list[Member]:
    return [
        Member(MemberConfig(label_seed=label_seed, seed=seed, **fields))
        for label_seed, seed in itertools.product(range(label_sets), range(models))
    ]


def study(values: np.ndarray) -> pd.DataFrame:
    """Members with these values of MIG, [labelled set, model]."""
    members = frame(crossed(*values.shape)).assign(mig=values.ravel())
    return members.assign(label_seed=np.repeat(np.arange(values.shape[0]), values.shape[1]))


def of_mig(members: pd.DataFrame) -> Components:
    [found] = [one for one in components("study", members) if one.metric == "mig"]
    return found


def test_parts_are_those_that_made_the_values() -> None:
    """On average; of many draws, as a single table tells little."""
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(60):
        values = 0.3 + generator.normal(0, 0.04, (6, 1)) + generator.normal(0, 0.02, 5)
        found = of_mig(study(values + generator.normal(0, 0.01, (6, 5))))
        draws.append((found.label_set, found.model, found.rest))
    assert np.mean(draws, axis=0) == pytest.approx([0.04**2, 0.02**2, 0.01**2], rel=0.25)


def test_a_spread_of_one_kind_alone_is_found_whole() -> None:
    for values, part in (
        (np.array([[0.1, 0.1], [0.3, 0.3]]), "label_set"),
        (np.array([[0.1, 0.3], [0.1, 0.3]]), "model"),
    ):
        found = of_mig(study(values))
        assert found.share(getattr(found, part)) == pytest.approx(1)
        assert found.standard_error == pytest.approx(0.1)  # of two values, however often they are repeated
        assert found.mean == pytest.approx(0.2)


def test_gaps_leave_the_largest_whole_part_and_too_few_seeds_no_split() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.1, (3, 4))
    members = study(values)
    gap = members["label_seed"].eq(1) & members["seed"].eq(2)
    found = of_mig(members[~gap])
    assert (found.num_label_seeds, found.num_seeds) == (3, 3)
    assert found.rest == pytest.approx(of_mig(study(values[:, [0, 1, 3]])).rest)
    alone = of_mig(members[members["seed"] == 0])
    assert math.isnan(alone.label_set)
    assert "-" in components_table("study", [alone])
    with pytest.raises(InvalidInputError, match="must vary label_seed"):
        components("study", members[members["label_seed"] == 0])


def test_a_setting_that_only_some_regularisers_have_leaves_none_out() -> None:
    """The others have no value of it, and differ among themselves in nothing else."""
    names = ("beta_tcvae", "dip_vae_i", "dip_vae_ii")
    members = [member for name in names for member in crossed(2, 3, regulariser=name)]
    found = components("study", distinct_members(frame(members).to_dict("records")))
    assert [one.setting for one in found if one.metric == "mig"] == [
        "regulariser = β-TCVAE",
        "regulariser = DIP-VAE-I",
        "regulariser = DIP-VAE-II",
    ]
    assert {(one.num_label_seeds, one.num_seeds) for one in found} == {(2, 3)}


def test_the_script_splits_each_setting(script: Script, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member whose seeds are the same has no seed of labels of its own, and is one of the crossed ones.

    MLflow no longer has the study when the numbers are written.
    """
    logged = frame(crossed(2, 3, tau=0.0) + crossed(2, 3, tau=1.0))
    assert logged["label_seed"].isna().sum() == 4
    members = distinct_members(logged.to_dict("records"))
    monkeypatch.setattr("sweeps.analysis.load.load_members", lambda uri, name: members)
    splitting = script.of(script_of_seeds.main, "--tracking-uri", tracking_uri, "--study", "study")
    printed, _ = splitting.succeed()
    assert "τ = 0" in printed
    assert printed.count("2 × 3") == 2 * 4
    table = pd.read_csv(splitting.folder / "figures" / "seeds.csv")
    assert len(table) == 2 * 4
