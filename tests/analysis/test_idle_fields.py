"""Settings without effect at a field's 0: the baseline is one of all that differ in nothing else."""

from __future__ import annotations

import pandas as pd
import pytest

from sweeps.analysis import comparisons, load
from sweeps.analysis.estimates import estimate_sensitivity
from sweeps.analysis.figures.sensitivity_figures import figure_notes
from sweeps.analysis.idle_fields import filled, shared
from sweeps.analysis.parameters import parameter, varies
from sweeps.analysis.settings import by_setting, where
from sweeps.analysis.traversal_models import choose_pair
from tests.analysis.invented import Member, frame, grid


def members(field: str, values: tuple[float, ...], **fields: object) -> pd.DataFrame:
    """Members of a sweep, as they are read."""
    fields = {"tau": 1.0} | fields
    taus = (fields.pop("tau"),)
    chosen = [m for value in values for m in grid(taus, (0.01, 0.02), (0, 1), **{**fields, field: value})]  # type: ignore[arg-type]
    return load.distinct_members(frame(chosen).assign(directory="").to_dict("records"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("alpha", {"label_loss": "cross_entropy"}),
        ("alpha", {"label_scaling": "index", "tau": 0.0}),  # without effect where τ is 0, too
        ("z_dim", {"nuisance_variance": 0.1}),
        ("z_dim", {"detach_nuisance": True}),
    ],
)
def test_a_sweep_with_one_such_setting_varies_the_field_alone(field: str, fields: dict[str, object]) -> None:
    found = members(field, (0, 1, 5), **fields)
    assert load.varied_parameters(found) == [field]
    [setting] = by_setting(found, parameter(field))
    assert sorted(set(setting.members[field])) == [0, 1, 5]


def of_controls() -> pd.DataFrame:
    """τ = 0 and 1 of all forms of label replacement, with and without z."""
    chosen = [
        member
        for z_dim in (5, 0)
        for replacement in ("given", "inferred")
        for detached in (False, True)
        for member in grid((0, 1), (0.01,), (0, 1), z_dim=z_dim, replacement=replacement, detach_nuisance=detached)
    ]
    return frame(chosen).drop_duplicates("hash").reset_index(drop=True).assign(directory="")


def test_a_baseline_is_of_each_form_and_keeps_its_place() -> None:
    found = of_controls()
    assert filled(found).equals(found)  # where forms differ, none is the one that a baseline would have had
    more = shared(found, ["tau"])
    assert set(more.index) == set(found.index)
    for _, some in more.groupby(["replacement", "detach_nuisance", "z_dim"]):
        assert varies(some, "tau") or (some["z_dim"] == 0).all()
    names = [setting.name for setting in by_setting(found, parameter("tau"))]
    assert len(names) == len(set(names)) == 6
    assert more.duplicated(["hash", "replacement", "detach_nuisance"]).sum() == 0


def test_a_chosen_form_keeps_its_baseline() -> None:
    found = where(of_controls(), ["replacement=inferred", "z_dim=5", "detach_nuisance=False"])
    assert sorted(set(found["tau"])) == [0, 1]
    assert set(found["replacement"]) == {"inferred"}
    assert len(found) == 4


def of_two_likelihoods(*more: Member) -> pd.DataFrame:
    """A Bernoulli ELBO with a Gaussian label replacement, which the baseline's σ² cannot be of."""
    fields = {"likelihood": "bernoulli", "replacement_likelihood": "gaussian", "pixel_mean": "sigmoid"}
    return frame([*grid((0, 1, 5), (0.01,), (0, 1), pixel_variance=0.1, **fields), *more]).assign(directory="")


def test_a_bernoulli_baseline_is_one_of_label_replacement_with_a_variance() -> None:
    found = of_two_likelihoods()
    [setting] = by_setting(found, parameter("tau"))
    assert sorted(set(setting.members["tau"])) == [0, 1, 5]
    assert sorted(choose_pair(found, "study", None)["tau"]) == [0, 1]
    more = of_two_likelihoods(*grid((0, 1), (0.01,), (0, 1), pixel_variance=0.125))
    names = {setting.name: sorted(set(setting.members["tau"])) for setting in by_setting(more, parameter("tau"))}
    assert names == {
        "Bernoulli, σ² = 0.1, replacement_likelihood = gaussian": [0, 1, 5],
        "Gaussian, σ² = 0.125, replacement_likelihood = default": [0, 1],
    }


def test_the_conditional_model_sees_scaled_labels_whatever_the_weight_of_its_loss() -> None:
    fields = {"graphical_model": "conditional", "regulariser": "beta_vae", "gamma_tc": 0.0, "alpha": 0.0}
    chosen = [
        m for scaling in ("standardised", "index") for m in grid((0,), (0.01,), (0,), label_scaling=scaling, **fields)
    ]
    more = grid((0,), (0.01,), (0,), **{**fields, "alpha": 1.0})
    assert list(filled(frame([*chosen, *more]))["label_scaling"]) == ["standardised", "index", "standardised"]


def test_a_baseline_that_is_missing_is_missed_once() -> None:
    found = of_controls()
    found.loc[(found["tau"] == 0) & (found["seed"] == 1) & (found["z_dim"] == 5), "status"] = "FAILED"
    settings = by_setting(found, parameter("tau"))
    sensitivities = [estimate_sensitivity("study", some.members, parameter("tau"), some.name) for some in settings]
    note = " ".join(figure_notes(sensitivities))
    assert f"1 of {len(found)} members missing: τ=0 η=0.01 seed 1 (FAILED)" in note


def test_label_rates_and_traversals_find_the_baseline_of_other_forms() -> None:
    chosen = grid((0, 1), (0.01, 0.02), (0, 1), detach_nuisance=True)
    found = load.distinct_members(frame(chosen).assign(directory="").to_dict("records"))  # type: ignore[arg-type]
    compared, tau = comparisons.choose_members("study", found, None)
    assert (len(compared), tau) == (8, 1)
    assert list(choose_pair(found, "study", None)["tau"]) == [0, 1]
    pair = choose_pair(of_controls(), "study", None)
    assert list(pair["tau"]) == [0, 1]
    assert list(pair["replacement"]) == ["given", "given"]
    assert not pair["detach_nuisance"].any()
