"""Every rule of a configuration, and the hash that names it."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest

from larvae.config import MemberConfig, Schedule
from larvae.errors import InvalidInputError

OTHER_VALUES = {
    "regulariser": "beta_vae",
    "tau": 0.5,
    "label_rate": 0.02,
    "z_dim": 6,
    "gamma_tc": 3.0,
    "alpha": 63.0,
    "learning_rate": 2e-4,
    "batch_size": 32,
    "seed": 1,
}
"""A valid value other than the default for each field but `dataset`, of which one is known so far."""


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("dataset", "mnist", "`dataset` must be one of dsprites"),
        ("regulariser", "dip_vae", "`regulariser` must be one of beta_tcvae, beta_vae"),
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
        {"z_dim": 0},
        {"batch_size": 1},
        {"seed": 2**63 - 1},
        {"regulariser": "beta_vae"},
    ],
)
def test_bounds_that_rules_include_are_accepted(values: dict[str, object]) -> None:
    config = MemberConfig(**values)
    assert {name: getattr(config, name) for name in values} == values


def test_defaults_are_those_of_the_method() -> None:
    config = MemberConfig()
    assert (config.regulariser, config.tau, config.z_dim, config.gamma_tc, config.alpha) == ("beta_tcvae", 1, 5, 4, 64)
    assert (config.learning_rate, config.batch_size) == (1e-4, 64)


@pytest.mark.parametrize("field", ["iterations", "log_every", "evaluate_every", "evaluation_size"])
@pytest.mark.parametrize("value", [0, -50])
def test_numbers_of_a_schedule_must_be_positive(field: str, value: int) -> None:
    with pytest.raises(InvalidInputError, match=f"^`{field}` must be > 0, got {value}$"):
        Schedule(**({"iterations": 100} | {field: value}))


def test_evaluations_must_fall_on_rows() -> None:
    rule = "`evaluate_every` must be a multiple of `log_every` (50), got 120"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
        Schedule(iterations=100, log_every=50, evaluate_every=120)


def test_iterations_need_not_be_a_multiple_of_anything() -> None:
    assert Schedule(iterations=7, log_every=50, evaluate_every=100).iterations == 7


@pytest.mark.parametrize("value", [MemberConfig(), Schedule(iterations=1)])
def test_configurations_cannot_be_changed(value: MemberConfig | Schedule) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, getattr(value, field))


def test_content_hash_depends_on_every_field() -> None:
    default = MemberConfig()
    changed = [dataclasses.replace(default, **{name: value}) for name, value in OTHER_VALUES.items()]
    other_dataset = MemberConfig()
    object.__setattr__(other_dataset, "dataset", "another")  # past the rule that only one data set is known
    hashes = {config.content_hash for config in (default, other_dataset, *changed)}
    assert {"dataset", *OTHER_VALUES} == {field.name for field in dataclasses.fields(MemberConfig)}
    assert len(hashes) == 1 + len(dataclasses.fields(MemberConfig))


@pytest.mark.parametrize("field", ["tau", "label_rate", "gamma_tc", "alpha", "learning_rate"])
def test_content_hash_is_the_same_for_int_and_float(field: str) -> None:
    assert MemberConfig(**{field: 1}).content_hash == MemberConfig(**{field: 1.0}).content_hash


def test_content_hash_is_the_same_for_ever() -> None:
    """It names directories on disk, so this value may change only with a field or a default."""
    assert MemberConfig().content_hash == "68f428c89e01"


def test_content_hash_is_twelve_hexadecimal_digits() -> None:
    assert all(re.fullmatch("[0-9a-f]{12}", MemberConfig(seed=seed).content_hash) for seed in range(20))


def test_to_dict_round_trips_through_json() -> None:
    config = MemberConfig(**OTHER_VALUES)
    again = MemberConfig(**json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.content_hash == config.content_hash
    assert list(config.to_dict()) == [field.name for field in dataclasses.fields(MemberConfig)]
