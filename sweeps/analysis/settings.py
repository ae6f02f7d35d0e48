"""Settings that a study may have several of, beside the parameter it sweeps: each gets panels of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from larvae.errors import InvalidInputError, require_known
from sweeps.analysis.idle_fields import is_idle
from sweeps.analysis.load import apart, other_parameters, parameters_of
from sweeps.analysis.parameters import Parameter, in_value_order, is_number, symbol, value_text, varies
from sweeps.tracking.mlflow_names import FINISHED

MOST_SETTINGS = 8
"""Rows of panels that a figure has at most."""
_LIKELIHOODS = {("gaussian", "linear"): "Gaussian", ("gaussian", "sigmoid"): "Gaussian around a sigmoid"}
_WORDS = {
    ("replacement", "given"): "true label",
    ("replacement", "inferred"): "inferred label",
    ("detach_nuisance", "True"): "z detached",
    ("detach_nuisance", "False"): "z not detached",
}
"""Values of fields for people, where these are not numbers."""


class Setting(NamedTuple):
    """Members that have all settings in common."""

    name: str
    """Name that tells it from the study's others, such as `Bernoulli, α = 64`; empty where there is one setting."""
    values: dict[str, Any]
    """The fields beside the parameter in which the study's members differ."""
    members: pd.DataFrame


def where(members: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Members with given values of fields, each NAME=VALUE, and those on which such a field has no effect.

    Raises InvalidInputError where there are none.
    """
    for condition in conditions:
        name, _, wanted = condition.partition("=")
        name = name.strip().replace("-", "_")
        require_known("where", name, parameters_of(members))
        has_value = np.array([_is_meant(wanted.strip(), value) for value in members[name]])
        if not has_value.any():
            known = ", ".join(dict.fromkeys(map(value_text, in_value_order(members[name].dropna()))))
            raise InvalidInputError(f"`where` must name one of {known} for {name}, got {wanted}")
        value = members.loc[has_value, name].iloc[0]
        members = members.assign(**{name: members[name].where(has_value, value)})[has_value | is_idle(members, name)]
    return members


def _is_meant(text: str, value: Any) -> bool:
    """Tell whether a text is a value as people write it, or the same number written otherwise."""
    if text in (value_text(value), str(value)):
        return True
    with contextlib.suppress(ValueError):
        return is_number(value) and bool(float(text) == value)
    return False


def by_setting(members: pd.DataFrame, parameter: Parameter) -> list[Setting]:
    """Members apart by setting, those settings that have a result.

    Settings with one value of the parameter, such as one that training has just come to, are left out. All members as
    one where they differ in no setting, or every setting has one value: that is no sweep of the parameter. Raises
    InvalidInputError where there are too many settings for a figure.
    """
    whole = [Setting("", {}, members)]
    names = other_parameters(members, parameter.name)
    if not names:
        return whole
    groups = [some for some in apart(members, parameter.name) if varies(some, parameter.name)]
    if len(groups) > MOST_SETTINGS:
        raise InvalidInputError(
            f"`where` must leave {MOST_SETTINGS} settings of {', '.join(names)} or fewer, got {len(groups)}: "
            f"give --where {names[0]}={value_text(members[names[0]].iloc[0])}, say"
        )
    found = []
    for some in groups:
        values = {name: some[name].iloc[0] for name in names}
        if (some["status"] == FINISHED).any():
            found.append(Setting(described(values, some.iloc[0]), values, some))
    return found or whole


def described(values: Mapping[str, object], member: pd.Series) -> str:
    """Values of fields in words, such as `Bernoulli, α = 64`; the likelihood's with what else the member has of it."""
    parts = []
    if {"likelihood", "pixel_mean"} & values.keys():
        kind = (member["likelihood"], member["pixel_mean"])
        parts.append(_LIKELIHOODS.get(kind, str(member["likelihood"]).capitalize()))
    for name, value in values.items():
        if name in ("dataset", "regulariser"):
            parts.append(value_text(value))
        elif name not in ("likelihood", "pixel_mean") and not pd.isna(value):  # type: ignore[call-overload]
            parts.append(_WORDS.get((name, str(value)), f"{symbol(name)} = {value_text(value)}"))
    return ", ".join(parts)
