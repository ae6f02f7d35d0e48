"""Settings of a study that get panels of their own."""

from __future__ import annotations

import pytest

from larvae.errors import InvalidInputError
from sweeps.analysis.estimates import estimate_sensitivity
from sweeps.analysis.parameters import TAU, Z_DIM, parameter, value_text
from sweeps.analysis.settings import by_setting, where
from tests.analysis.invented import Member, frame, grid, with_ends


def names(members: list[Member]) -> list[str]:
    return [setting.name for setting in by_setting(frame(members), TAU)]


def sweep(**settings: object) -> list[Member]:
    return grid((0, 1), (0.01,), (0, 1), **settings)


def test_each_setting_has_its_members_and_its_name() -> None:
    settings = by_setting(frame([*sweep(alpha=64.0), *sweep(alpha=1.0)]), TAU)
    assert [(some.name, some.values) for some in settings] == [("α = 1", {"alpha": 1}), ("α = 64", {"alpha": 64})]
    for setting in settings:
        assert (len(setting.members), set(setting.members["alpha"])) == (4, set(setting.values.values()))
    assert names([*sweep(batch_size=32), *sweep(batch_size=64)]) == ["batch size = 32", "batch size = 64"]
    assert names([*sweep(regulariser="beta_vae", gamma_tc=3.0), *sweep()]) == ["β-TCVAE", "β-VAE"]  # γ_tc follows
    likelihoods = [*sweep(), *sweep(pixel_mean="sigmoid"), *sweep(likelihood="bernoulli")]
    assert names(likelihoods) == ["Bernoulli", "Gaussian", "Gaussian around a sigmoid"]
    assert names([*sweep(), *sweep(pixel_variance=0.1, gamma_tc=20.0)]) == ["γ_tc = 4, σ² = 0.5", "γ_tc = 20, σ² = 0.1"]


def test_what_is_no_sweep_at_several_settings_stays_together() -> None:
    [whole] = by_setting(frame(sweep()), TAU)
    assert (whole.name, whole.values, len(whole.members)) == ("", {}, 4)
    assert names([member for tau in (0.3, 4.0) for member in grid((tau,), (0.01,), (0,), alpha=10 * tau)]) == [""]
    assert [setting.name for setting in by_setting(frame(sweep(alpha=2.0)), parameter("alpha"))] == [""]
    assert [setting.name for setting in by_setting(frame(grid((1,), (0.01,), (0,), z_dim=5)), Z_DIM)] == [""]


def test_a_setting_without_a_result_is_left_out() -> None:
    unfinished = {(tau, 0.01, seed): ("SCHEDULED", "") for tau in (0, 1) for seed in (0, 1)}
    assert names([*sweep(), *with_ends(sweep(alpha=64.0), unfinished)]) == ["α = 1"]


def test_a_sweep_of_regularisers_has_one_setting_though_weights_follow() -> None:
    members = [*sweep(regulariser="beta_vae", gamma_tc=3.0), *sweep(regulariser="beta_tcvae", gamma_tc=4.0)]
    settings = by_setting(frame(members), parameter("regulariser"))
    assert [setting.name for setting in settings] == ["τ = 0", "τ = 1"]


def test_members_can_be_chosen_by_values_and_what_names_none_is_refused() -> None:
    members = frame([*sweep(alpha=64.0), *sweep(alpha=1.0)])
    assert set(where(members, ["alpha=64", "tau=1"])["tau"]) == {1}
    assert set(where(members, ["regulariser=beta_tcvae", "alpha=1.0"])["alpha"]) == {1}
    small = frame([*sweep(learning_rate=1e-5), *sweep(learning_rate=1e-4)])
    for text in ("1e-4", "0.0001", "1.0e-04"):
        assert set(where(small, [f"learning_rate={text}"])["learning_rate"]) == {1e-4}
    for text in (".01", "1e-2"):
        assert len(where(members, [f"label_rate={text}"])) == len(members)
    some = members.assign(label_seed=[7, *[None] * (len(members) - 1)])
    assert len(where(some, ["label_seed=7"])) == 1
    with pytest.raises(InvalidInputError, match="`where` must name one of 7 for label_seed, got 8"):
        where(some, ["label_seed=8"])
    with pytest.raises(InvalidInputError, match="`where` must name one of 1, 64 for alpha, got 2"):
        where(members, ["alpha=2"])
    with pytest.raises(InvalidInputError, match=r"`where` must be one of .*alpha.*, got hash"):
        where(members, ["hash=2"])


def test_more_settings_than_a_figure_holds_are_refused_with_a_remedy() -> None:
    members = [member for alpha in range(1, 11) for member in sweep(alpha=float(alpha))]
    with pytest.raises(InvalidInputError, match="8 settings of alpha or fewer, got 10: give --where alpha=1, say"):
        by_setting(frame(members), TAU)


def test_what_only_others_have_is_no_part_of_a_name() -> None:
    of_capacity = {"regulariser": "annealed_vae"}
    annealed = [m for c in (5.0, 50.0) for m in sweep(regulariser_settings=(("capacity", c),), **of_capacity)]
    found = names([*annealed, *sweep(regulariser="beta_vae")])
    assert sorted(found) == ["AnnealedVAE, capacity = 5", "AnnealedVAE, capacity = 50", "β-VAE"]


def test_a_setting_that_training_has_just_come_to_is_left_out() -> None:
    assert names([*sweep(), *grid((0,), (0.01,), (0,), alpha=64.0)]) == ["α = 1"]


def test_values_are_told_as_what_they_mean() -> None:
    """True and False are no numbers, and nothing is the default."""
    assert [value_text(value) for value in (0.5, 1, True, "beta_vae", "", "()", "[]")] == [
        "0.5",
        "1",
        "True",
        "β-VAE",
        "default",
        "default",
        "default",
    ]
    both = frame([m for norm in (False, True) for m in grid((1,), (0.01,), (0, 1), instance_norm=norm)])
    assert estimate_sensitivity("study", both, parameter("instance_norm")).values == ["False", "True"]
