"""Settings of a study that get panels of their own."""

from __future__ import annotations

from sweeps.analysis.parameters import TAU, Z_DIM
from sweeps.analysis.settings import by_setting
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
    likelihoods = [*sweep(), *sweep(pixel_mean="sigmoid"), *sweep(likelihood="bernoulli")]
    assert names(likelihoods) == ["Bernoulli", "Gaussian", "Gaussian around a sigmoid"]
    assert names([*sweep(), *sweep(pixel_variance=0.1, gamma_tc=20.0)]) == ["σ² = 0.1, γ_tc = 20", "σ² = 0.5, γ_tc = 4"]


def test_what_is_no_sweep_at_several_settings_stays_together() -> None:
    [whole] = by_setting(frame(sweep()), TAU)
    assert (whole.name, whole.values, len(whole.members)) == ("", {}, 4)
    assert names([member for tau in (0.3, 4.0) for member in grid((tau,), (0.01,), (0,), alpha=10 * tau)]) == [""]
    assert names([*sweep(batch_size=32), *sweep(batch_size=64)]) == [""]
    assert [setting.name for setting in by_setting(frame(grid((1,), (0.01,), (0,), z_dim=5)), Z_DIM)] == [""]


def test_a_setting_without_a_result_is_left_out() -> None:
    unfinished = {(tau, 0.01, seed): ("SCHEDULED", "") for tau in (0, 1) for seed in (0, 1)}
    assert names([*sweep(), *with_ends(sweep(alpha=64.0), unfinished)]) == ["α = 1"]
