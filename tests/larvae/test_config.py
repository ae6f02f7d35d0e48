"""Every rule of a configuration, and the hash that names it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re

import pytest

from larvae.config import (
    DEFAULT_GAMMA_TC,
    DENSITY_ESTIMATORS,
    HELD_OUT_METRICS,
    METRICS,
    REGULARISERS,
    MemberConfig,
    Schedule,
)
from larvae.datasets import SPECIFICATIONS
from larvae.errors import InvalidInputError

FACTORS = ("shape", "scale", "orientation", "position_x", "position_y")

OTHER_VALUES = {
    "dataset": "shapes3d",
    "regulariser": "beta_vae",
    "tau": 0.5,
    "label_rate": 0.02,
    "z_dim": 6,
    "gamma_tc": 3.0,
    "alpha": 63.0,
    "learning_rate": 2e-4,
    "batch_size": 32,
    "density_estimator": "minibatch_stratified",
    "likelihood": "bernoulli",
    "pixel_mean": "sigmoid",
    "pixel_variance": 0.25,
    "replacement_likelihood": "gaussian",
    "instance_norm": False,
    "observed_factors": ("scale", "shape"),
    "held_out": 0.1,
    "seed": 1,
}
"""A valid value other than the default for each field."""
FLOATS = {"tau": 1, "label_rate": 1, "gamma_tc": 1, "alpha": 1, "learning_rate": 1, "pixel_variance": 1, "held_out": 0}
"""A whole number for each field of real numbers."""


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("dataset", "mnist", f"`dataset` must be one of {', '.join(SPECIFICATIONS)}"),
        ("regulariser", "dip_vae", "`regulariser` must be one of beta_vae, beta_tcvae, factor_vae"),
        (
            "density_estimator",
            "exact",
            "`density_estimator` must be one of minibatch_weighted, minibatch_stratified",
        ),
        ("likelihood", "laplace", "`likelihood` must be one of gaussian, bernoulli"),
        ("replacement_likelihood", "laplace", "`replacement_likelihood` must be one of gaussian, bernoulli"),
        ("pixel_mean", "tanh", "`pixel_mean` must be one of linear, sigmoid"),
        ("pixel_variance", 0, "`pixel_variance` must be finite and > 0"),
        ("pixel_variance", -0.5, "`pixel_variance` must be finite and > 0"),
        ("pixel_variance", math.nan, "`pixel_variance` must be finite and > 0"),
        ("pixel_variance", math.inf, "`pixel_variance` must be finite and > 0"),
        ("tau", -0.1, "`tau` must be finite and >= 0"),
        ("tau", math.nan, "`tau` must be finite and >= 0"),
        ("tau", math.inf, "`tau` must be finite and >= 0"),
        ("gamma_tc", -1, "`gamma_tc` must be finite and >= 0"),
        ("gamma_tc", math.nan, "`gamma_tc` must be finite and >= 0"),
        ("gamma_tc", math.inf, "`gamma_tc` must be finite and >= 0"),
        ("alpha", -64.0, "`alpha` must be finite and >= 0"),
        ("alpha", math.nan, "`alpha` must be finite and >= 0"),
        ("alpha", math.inf, "`alpha` must be finite and >= 0"),
        ("label_rate", 0, "`label_rate` must lie in (0, 1]"),
        ("label_rate", 1.5, "`label_rate` must lie in (0, 1]"),
        ("label_rate", -0.5, "`label_rate` must lie in (0, 1]"),
        ("label_rate", math.nan, "`label_rate` must lie in (0, 1]"),
        ("z_dim", -1, "`z_dim` must be >= 0"),
        ("learning_rate", 0, "`learning_rate` must be finite and > 0"),
        ("learning_rate", -1e-4, "`learning_rate` must be finite and > 0"),
        ("learning_rate", math.nan, "`learning_rate` must be finite and > 0"),
        ("learning_rate", math.inf, "`learning_rate` must be finite and > 0"),
        ("held_out", 1, "`held_out` must lie in [0, 1)"),
        ("held_out", 1.5, "`held_out` must lie in [0, 1)"),
        ("held_out", -0.1, "`held_out` must lie in [0, 1)"),
        ("held_out", math.nan, "`held_out` must lie in [0, 1)"),
        ("batch_size", 0, "`batch_size` must be > 0"),
        ("batch_size", -64, "`batch_size` must be > 0"),
        ("seed", -1, "`seed` must lie in [0, 2^63)"),
        ("seed", 2**63, "`seed` must lie in [0, 2^63)"),
    ],
)
def test_broken_rule_of_a_member_is_stated_with_the_value(field: str, value: object, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(f'{rule}, got {value}')}$"):
        MemberConfig(**{field: value})


@pytest.mark.parametrize(
    "values",
    [
        {"tau": 0, "gamma_tc": 0, "alpha": 0},
        {"label_rate": 1},
        {"held_out": 0},
        {"held_out": 0.999},
        {"z_dim": 0},
        {"batch_size": 1},
        {"seed": 2**63 - 1},
        *({"regulariser": name} for name in ("beta_vae", "beta_tcvae", "factor_vae")),
        {"density_estimator": "minibatch_stratified", "batch_size": 2},
        {"density_estimator": "minibatch_stratified", "batch_size": 737_280},
        {"observed_factors": ("orientation",)},
    ],
    ids=str,
)
def test_bounds_that_rules_include_are_accepted(values: dict[str, object]) -> None:
    config = MemberConfig(**values)
    assert {name: getattr(config, name) for name in values} == values


def test_defaults_are_those_of_the_method() -> None:
    config = MemberConfig()
    assert (config.regulariser, config.tau, config.z_dim, config.gamma_tc, config.alpha) == ("beta_tcvae", 1, 5, 4, 1)
    assert (config.learning_rate, config.batch_size) == (1e-4, 64)
    assert (config.density_estimator, config.likelihood) == ("minibatch_weighted", "gaussian")
    assert (config.pixel_mean, config.pixel_variance, config.replacement_likelihood) == ("linear", 0.5, "")
    assert config.instance_norm
    assert config.labels == FACTORS


def test_weights_of_the_regularisers_are_those_of_their_papers() -> None:
    """β = 4 for β-VAE and β = 5 for β-TCVAE, both β − 1; γ = 10 for FactorVAE."""
    assert DEFAULT_GAMMA_TC == {"beta_vae": 4 - 1, "beta_tcvae": 5 - 1, "factor_vae": 10}
    assert tuple(DEFAULT_GAMMA_TC) == REGULARISERS
    assert MemberConfig().gamma_tc == DEFAULT_GAMMA_TC[MemberConfig().regulariser]


@pytest.mark.parametrize("batch_size", [1, 737_281])
def test_stratified_weights_need_another_image_and_no_more_than_there_are(batch_size: int) -> None:
    rule = f"`batch_size` must lie in [2, 737280] with minibatch_stratified, got {batch_size}"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
        MemberConfig(batch_size=batch_size, density_estimator="minibatch_stratified")
    assert MemberConfig(batch_size=batch_size, density_estimator=DENSITY_ESTIMATORS[0]).batch_size == batch_size


@pytest.mark.parametrize(
    ("alpha", "tau", "uses_labels", "replaces_labels"),
    [(0, 0, False, False), (64, 0, True, False), (0, 1, True, True), (64, 1, True, True)],
    ids=["unsupervised", "baseline", "replacement alone", "LaRVAE"],
)
def test_alpha_and_tau_say_what_labels_are_for(
    alpha: float, tau: float, uses_labels: bool, replaces_labels: bool
) -> None:
    config = MemberConfig(alpha=alpha, tau=tau)
    assert (config.uses_labels, config.replaces_labels) == (uses_labels, replaces_labels)


# Observed factors


def test_observed_factors_are_in_the_data_set_s_order() -> None:
    config = MemberConfig(observed_factors=("position_y", "shape", "position_y", "scale"))
    assert config.observed_factors == config.labels == ("shape", "scale", "position_y")


def test_order_and_kind_of_sequence_do_not_change_the_hash() -> None:
    orders = itertools.permutations(("shape", "orientation", "position_x"))
    configs = [MemberConfig(observed_factors=order) for order in orders]
    configs.append(MemberConfig(observed_factors=["shape", "orientation", "position_x"]))  # as JSON has it
    assert len(set(configs)) == len({config.content_hash for config in configs}) == 1


def test_naming_all_factors_is_naming_none() -> None:
    everything = MemberConfig(observed_factors=FACTORS[::-1])
    assert everything == MemberConfig()
    assert everything.content_hash == MemberConfig().content_hash
    assert everything.observed_factors == ()
    assert everything.labels == FACTORS


def test_each_set_of_observed_factors_has_a_hash_of_its_own() -> None:
    sets = [chosen for count in range(1, 6) for chosen in itertools.combinations(FACTORS, count)]
    assert len({MemberConfig(observed_factors=chosen).content_hash for chosen in sets}) == 2**5 - 1


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_labels_are_the_data_set_s_own(name: str) -> None:
    factors = SPECIFICATIONS[name].factors.names
    assert MemberConfig(dataset=name).labels == factors
    assert MemberConfig(dataset=name, observed_factors=factors[1:][::-1]).labels == factors[1:]


def test_unknown_observed_factor_is_named_with_those_there_are() -> None:
    rule = f"`observed_factors` must be one of {', '.join(FACTORS)}, got colour"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
        MemberConfig(observed_factors=("shape", "colour"))


# Schedules


@pytest.mark.parametrize("value", [1, 0, -50])
def test_an_evaluation_compares_images(value: int) -> None:
    with pytest.raises(InvalidInputError, match=f"^`evaluation_size` must be > 1, got {value}$"):
        Schedule(iterations=100, evaluation_size=value)


@pytest.mark.parametrize("field", ["iterations", "log_every", "evaluate_every"])
@pytest.mark.parametrize("value", [0, -50])
def test_numbers_of_a_schedule_must_be_positive(field: str, value: int) -> None:
    with pytest.raises(InvalidInputError, match=f"^`{field}` must be > 0, got {value}$"):
        Schedule(**({"iterations": 100} | {field: value}))


def test_evaluations_must_fall_on_rows() -> None:
    rule = "`evaluate_every` must be a multiple of `log_every` (50), got 120"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
        Schedule(iterations=100, log_every=50, evaluate_every=120)


@pytest.mark.parametrize("field", ["metrics", "final_metrics"])
def test_unknown_metric_is_named_with_those_there_are(field: str) -> None:
    rule = f"`{field}` must be one of {', '.join(METRICS)}, got fid"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
        Schedule(iterations=100, **{field: ("mig", "fid")})


def test_quick_metrics_during_training_and_all_at_the_end() -> None:
    schedule = Schedule(iterations=1)
    assert schedule.metrics == ("mig", "l2")
    assert schedule.final_metrics == METRICS
    assert Schedule(iterations=1, metrics=(), final_metrics=()).final_metrics == ()


def test_iterations_need_not_be_a_multiple_of_anything() -> None:
    assert Schedule(iterations=7, log_every=50, evaluate_every=100).iterations == 7


# Values that name a member


@pytest.mark.parametrize("value", [MemberConfig(), Schedule(iterations=1)])
def test_configurations_cannot_be_changed(value: MemberConfig | Schedule) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, getattr(value, field))


def test_content_hash_depends_on_every_field() -> None:
    default = MemberConfig(pixel_mean="sigmoid")
    others = OTHER_VALUES | {"pixel_mean": "linear", "replacement_likelihood": "bernoulli"}
    changed = [dataclasses.replace(default, **{name: value}) for name, value in others.items()]
    hashes = {config.content_hash for config in (default, *changed)}
    assert OTHER_VALUES.keys() == {field.name for field in dataclasses.fields(MemberConfig)}
    assert len(hashes) == 1 + len(dataclasses.fields(MemberConfig))


@pytest.mark.parametrize(("field", "value"), FLOATS.items())
def test_content_hash_is_the_same_for_int_and_float(field: str, value: int) -> None:
    assert MemberConfig(**{field: value}).content_hash == MemberConfig(**{field: float(value)}).content_hash


def test_all_real_numbers_are_tried_as_whole_ones() -> None:
    assert FLOATS.keys() == {field.name for field in dataclasses.fields(MemberConfig) if field.type == "float"}


def test_content_hash_is_the_same_for_ever() -> None:
    """It names directories on disk, so this value may change only with a field or a default."""
    assert MemberConfig().content_hash == "bd337faac582"


def test_content_hash_is_twelve_hexadecimal_digits() -> None:
    assert all(re.fullmatch("[0-9a-f]{12}", MemberConfig(seed=seed).content_hash) for seed in range(20))


def test_to_dict_round_trips_through_json() -> None:
    config = MemberConfig(**OTHER_VALUES)
    again = MemberConfig(**json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.content_hash == config.content_hash
    assert config.to_dict() == json.loads(json.dumps(config.to_dict()))  # tuples would not be equal to lists
    assert list(config.to_dict()) == [field.name for field in dataclasses.fields(MemberConfig)]


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("other", ["gaussian", "bernoulli"])
def test_two_likelihoods_of_one_output_need_a_sigmoid(likelihood: str, other: str) -> None:
    """One output cannot be both a logit and a mean; the baseline has but one likelihood."""
    pair = {"likelihood": likelihood, "replacement_likelihood": other}
    assert MemberConfig(**pair, pixel_mean="sigmoid").pixel_mean == "sigmoid"
    assert MemberConfig(**pair, tau=0) == MemberConfig(likelihood=likelihood, tau=0)
    if likelihood == other:
        assert MemberConfig(**pair) == MemberConfig(likelihood=likelihood)
    else:
        rule = "`pixel_mean` must be sigmoid with one likelihood in the ELBO and another in L_rep, got linear"
        with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
            MemberConfig(**pair)


def test_what_is_no_matter_to_a_bernoulli_does_not_name_another_member() -> None:
    bernoulli = MemberConfig(likelihood="bernoulli", pixel_mean="linear", pixel_variance=3.0)
    assert bernoulli == MemberConfig(likelihood="bernoulli")
    assert bernoulli.pixel_mean == "sigmoid"


def test_each_share_held_out_names_another_member() -> None:
    shares = [0.0, 1e-9, 0.1, 0.10001, 0.5]
    assert len({MemberConfig(held_out=share).content_hash for share in shares}) == len(shares)
    assert MemberConfig(held_out=0.1).to_dict()["held_out"] == 0.1


def test_held_out_metrics_are_among_the_quick_ones() -> None:
    assert set(HELD_OUT_METRICS) <= set(Schedule(iterations=1).metrics)
