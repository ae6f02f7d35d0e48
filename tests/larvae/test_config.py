"""Every rule of a configuration, and the hash that names it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Callable

import pytest

from larvae.config import GRAPHICAL_MODELS, LATER_FIELDS, MemberConfig, Schedule
from larvae.datasets import SPECIFICATIONS
from larvae.errors import InvalidInputError
from larvae.metrics import DEFAULT_METRICS, METRICS
from larvae.regularisers import REGULARISERS

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
    "replacement": "inferred",
    "detach_nuisance": True,
    "label_loss": "cross_entropy",
    "label_scaling": "index",
    "label_variance": 0.5,
    "nuisance_variance": 0.5,
    "instance_norm": False,
    "observed_factors": ("scale", "shape"),
    "held_out": 0.1,
    "seed": 1,
    "label_seed": 2,
}
"""A valid value other than the default for each field."""
FIELDS = [field.name for field in dataclasses.fields(MemberConfig) if field.name != "regulariser_settings"]
"""All but those that single regularisers have, of which `test_regularisers` tells."""
CONDITIONAL = {"graphical_model": "conditional", "regulariser": "beta_vae", "tau": 0.0}
"""The conditional model goes with few others of these values."""
FLOATS = {
    **dict.fromkeys(("tau", "label_rate", "gamma_tc", "alpha", "learning_rate", "pixel_variance"), 1),
    **dict.fromkeys(("held_out", "label_variance", "nuisance_variance"), 0),
}
"""A whole number for each field of real numbers."""


FINITE = (math.nan, math.inf, -math.inf)
BROKEN: dict[str, tuple[tuple[object, ...], str]] = {
    "dataset": (("mnist",), f"must be one of {', '.join(SPECIFICATIONS)}"),
    "regulariser": (("dip_vae",), f"must be one of {', '.join(REGULARISERS)}"),
    "density_estimator": (("exact",), "must be one of minibatch_weighted, minibatch_stratified"),
    "likelihood": (("laplace",), "must be one of gaussian, bernoulli"),
    "replacement_likelihood": (("laplace",), "must be one of gaussian, bernoulli"),
    "pixel_mean": (("tanh",), "must be one of linear, sigmoid"),
    "replacement": (("false",), "must be one of given, inferred"),
    "label_loss": (("hinge",), "must be one of squared_error, cross_entropy"),
    "graphical_model": (("causal",), "must be one of joint, conditional"),
    "label_scaling": (("log",), "must be one of standardised, index, unit"),
    **dict.fromkeys(("tau", "gamma_tc", "alpha"), ((-0.1, *FINITE), "must be finite and >= 0")),
    **dict.fromkeys(("label_variance", "nuisance_variance"), ((-0.1, *FINITE), "must be finite and >= 0")),
    **dict.fromkeys(("learning_rate", "pixel_variance"), ((0, -0.5, *FINITE), "must be finite and > 0")),
    "label_rate": ((0, 1.5, -0.5, math.nan), "must lie in (0, 1]"),
    "held_out": ((1, 1.5, -0.1, math.nan), "must lie in [0, 1)"),
    "z_dim": ((-1, 1001), "must be in [0, 1000]"),
    "batch_size": ((0, -64), "must be > 0"),
    **dict.fromkeys(("seed", "label_seed"), ((-1, 2**63), "must lie in [0, 2^63)")),
}
"""Values that a member's fields must not have, and the rule that they break."""
BROKEN_SCHEDULES: dict[str, tuple[tuple[object, ...], str]] = {
    **dict.fromkeys(("iterations", "log_every", "evaluation_samples"), ((0, -50), "must be > 0")),
    "evaluate_every": ((120,), "must be a multiple of `log_every` (50)"),
    "evaluation_size": ((1, 0, -50), "must be > 1"),
}


def assert_refused(make: Callable[..., object], rule: str, **values: object) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
        make(**values)


def test_broken_rules_are_stated_with_the_value() -> None:
    for field, (values, rule) in BROKEN.items():
        for value in values:
            assert_refused(MemberConfig, f"`{field}` {rule}, got {value}", **{field: value})
    for field, (values, rule) in BROKEN_SCHEDULES.items():
        for value in values:
            assert_refused(Schedule, f"`{field}` {rule}, got {value}", **({"iterations": 100} | {field: value}))
    for field in ("metrics", "final_metrics"):
        rule = f"`{field}` must be one of {', '.join(METRICS)}, got fid"
        assert_refused(Schedule, rule, iterations=100, **{field: ("mig", "fid")})
    rule = f"`observed_factors` must be one of {', '.join(FACTORS)}, got colour"
    assert_refused(MemberConfig, rule, observed_factors=("shape", "colour"))
    for size in (1, 737_281):
        rule = f"`batch_size` must lie in [2, 737280] with minibatch_stratified, got {size}"
        assert_refused(MemberConfig, rule, batch_size=size, density_estimator="minibatch_stratified")
        assert MemberConfig(batch_size=size).batch_size == size


def test_bounds_that_rules_include_are_accepted() -> None:
    for values in (
        {"tau": 0, "gamma_tc": 0, "alpha": 0, "label_rate": 1, "held_out": 0, "z_dim": 0, "batch_size": 1},
        {"held_out": 0.999, "seed": 2**63 - 1, "observed_factors": ("orientation",)},
        {"density_estimator": "minibatch_stratified", "batch_size": 2},
        {"density_estimator": "minibatch_stratified", "batch_size": 737_280},
    ):
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
    for name, gamma_tc in {"beta_vae": 4 - 1, "beta_tcvae": 5 - 1, "factor_vae": 10}.items():
        assert MemberConfig(regulariser=name).gamma_tc == gamma_tc


# Observed factors


def test_observed_factors_are_in_the_data_set_s_order_and_all_are_none() -> None:
    config = MemberConfig(observed_factors=("position_y", "shape", "position_y", "scale"))
    assert config.observed_factors == config.labels == ("shape", "scale", "position_y")
    everything = MemberConfig(observed_factors=FACTORS[::-1])
    assert everything == MemberConfig()
    assert (everything.observed_factors, everything.labels) == ((), FACTORS)
    for name, specification in SPECIFICATIONS.items():
        factors = specification.factors.names
        assert MemberConfig(dataset=name).labels == factors
        assert MemberConfig(dataset=name, observed_factors=factors[1:][::-1]).labels == factors[1:]


def test_each_set_of_observed_factors_has_a_hash_of_its_own() -> None:
    """Whatever their order, and whether in a list, as JSON has it."""
    sets = [chosen for count in range(1, 6) for chosen in itertools.combinations(FACTORS, count)]
    hashes = [MemberConfig(observed_factors=chosen).content_hash for chosen in sets]
    assert len(set(hashes)) == 2**5 - 1
    assert hashes == [MemberConfig(observed_factors=list(reversed(chosen))).content_hash for chosen in sets]


# Schedules


def test_alpha_and_tau_say_what_labels_are_for() -> None:
    for alpha, tau in itertools.product((0, 64), (0, 1)):
        config = MemberConfig(alpha=alpha, tau=tau)
        assert (config.uses_labels, config.replaces_labels) == (bool(alpha or tau), bool(tau))


def test_quick_metrics_during_training_and_all_at_the_end() -> None:
    schedule = Schedule(iterations=1)
    assert schedule.metrics == ("mig", "l2")
    assert schedule.final_metrics == DEFAULT_METRICS
    assert Schedule(iterations=1, metrics=(), final_metrics=()).final_metrics == ()


# The conditional model


def test_the_conditional_model_refuses_what_it_cannot_have() -> None:
    """Both fields are named, and the paper's reason; γ_tc left out is none."""
    assert MemberConfig(**CONDITIONAL) == MemberConfig(**CONDITIONAL, gamma_tc=0)
    assert MemberConfig(**CONDITIONAL, alpha=0).uses_labels
    others = {"tau": 1.0, "regulariser": "beta_tcvae", "gamma_tc": 3.0, "label_loss": "cross_entropy", "z_dim": 0}
    for name, value in others.items():
        rule = rf"^`{name}` must be .+ where `graphical_model` is conditional, got {value}"
        with pytest.raises(InvalidInputError, match=rule) as caught:
            MemberConfig(**CONDITIONAL | {name: value})
        assert ("Section 4" in str(caught.value)) == (name in ("tau", "regulariser", "gamma_tc"))


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
    joint, conditional = (
        MemberConfig(**CONDITIONAL | {"graphical_model": name}, gamma_tc=0) for name in GRAPHICAL_MODELS
    )
    hashes = {config.content_hash for config in (default, *changed, joint, conditional)}
    assert [*OTHER_VALUES, "graphical_model"] == sorted(FIELDS, key="graphical_model".__eq__)
    assert len(hashes) == 2 + len(FIELDS)


def test_content_hash_is_the_same_for_int_and_float() -> None:
    for field, value in FLOATS.items():
        assert MemberConfig(**{field: value}).content_hash == MemberConfig(**{field: float(value)}).content_hash
    assert FLOATS.keys() == {field.name for field in dataclasses.fields(MemberConfig) if field.type == "float"}


def test_zero_has_no_sign() -> None:
    assert MemberConfig(tau=-0.0).content_hash == MemberConfig(tau=0).content_hash
    assert f"{MemberConfig(tau=-0.0).tau:g}" == "0"
    assert MemberConfig(held_out=-0.0).content_hash == MemberConfig().content_hash
    annealed = [MemberConfig(regulariser="annealed_vae", regulariser_settings=(("capacity", c),)) for c in (0.0, -0.0)]
    assert annealed[0].content_hash == annealed[1].content_hash


def test_content_hash_is_the_same_for_ever() -> None:
    """It names directories on disk, so this value may change only with a field or a default."""
    assert MemberConfig().content_hash == "bd337faac582"


def test_fields_without_effect_name_no_other_member() -> None:
    for without_effect, others in (
        ({"tau": 0.0}, {"replacement": "inferred", "detach_nuisance": True}),
        ({"z_dim": 0}, {"detach_nuisance": True, "nuisance_variance": 0.5}),
        ({"alpha": 0.0}, {"label_loss": "cross_entropy"}),
        ({"alpha": 0.0, "tau": 0.0}, {"label_scaling": "unit", "label_seed": 3}),
        ({"seed": 3}, {"label_seed": 3}),
    ):
        assert MemberConfig(**without_effect, **others) == MemberConfig(**without_effect)


def test_what_an_earlier_version_wrote_of_a_member_is_that_member() -> None:
    """It had no field of those that came later, and trained as their defaults do."""
    written = {name: value for name, value in MemberConfig(tau=0.5).to_dict().items() if name not in LATER_FIELDS}
    assert MemberConfig.from_dict(written) == MemberConfig(tau=0.5)


def test_to_dict_round_trips_through_json() -> None:
    config = MemberConfig(**OTHER_VALUES)
    again = MemberConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.content_hash == config.content_hash
    assert config.to_dict() == json.loads(json.dumps(config.to_dict()))  # tuples would not be equal to lists
    assert list(config.to_dict()) == FIELDS


def test_two_likelihoods_of_one_output_need_a_sigmoid() -> None:
    """One output cannot be both a logit and a mean; the baseline has but one likelihood.

    Fields without effect do not name another member.
    """
    for likelihood, other in itertools.product(("gaussian", "bernoulli"), repeat=2):
        pair = {"likelihood": likelihood, "replacement_likelihood": other}
        assert MemberConfig(**pair, pixel_mean="sigmoid").pixel_mean == "sigmoid"
        assert MemberConfig(**pair, tau=0) == MemberConfig(likelihood=likelihood, tau=0)
        if likelihood == other:
            assert MemberConfig(**pair) == MemberConfig(likelihood=likelihood)
        else:
            rule = "`pixel_mean` must be sigmoid with one likelihood in the ELBO and another in L_rep, got linear"
            assert_refused(MemberConfig, rule, **pair)
    bernoulli = MemberConfig(likelihood="bernoulli", pixel_mean="linear", pixel_variance=3.0)
    assert bernoulli == MemberConfig(likelihood="bernoulli")
    assert bernoulli.pixel_mean == "sigmoid"
