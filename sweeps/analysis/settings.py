"""Settings that a study may have several of, beside the parameter it sweeps: each gets panels of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sweeps.analysis.load import varied_parameters
from sweeps.analysis.parameters import Parameter
from sweeps.tracking.mlflow_names import FINISHED

SETTINGS = ("likelihood", "pixel_mean", "pixel_variance", "alpha", "gamma_tc")
"""Fields of which a study may have several values; members that differ in others do not belong into one figure."""
_SYMBOLS = {"pixel_variance": "σ²", "alpha": "α", "gamma_tc": "γ_tc"}
_LIKELIHOODS = {("gaussian", "linear"): "Gaussian", ("gaussian", "sigmoid"): "Gaussian around a sigmoid"}


class Setting(NamedTuple):
    """Members that have all settings in common."""

    name: str
    """Name that tells it from the study's others, such as `Bernoulli, α = 64`; empty where there is one setting."""
    values: dict[str, Any]
    """The fields of SETTINGS in which the study's members differ."""
    members: pd.DataFrame


def by_setting(members: pd.DataFrame, parameter: Parameter) -> list[Setting]:
    """Members apart by setting, those settings that have a result.

    All of them as one where they differ in no setting, or where one setting has one value of the parameter only: then
    it is no sweep of it.
    """
    whole = [Setting("", {}, members)]
    varied = varied_parameters(members)
    names = [name for name in SETTINGS if name in varied and name != parameter.name]
    if not names:
        return whole
    groups = [some for _, some in members.groupby(names, sort=True)]
    if any(some[parameter.name].nunique() < 2 for some in groups):
        return whole
    apart = []
    for some in groups:
        values = {name: some[name].iloc[0] for name in names}
        if (some["status"] == FINISHED).any():
            apart.append(Setting(_name(values, some.iloc[0]), values, some))
    return apart or whole


def _name(values: Mapping[str, object], member: pd.Series) -> str:
    parts = [f"{_SYMBOLS[name]} = {value:g}" for name, value in values.items() if name in _SYMBOLS]
    if {"likelihood", "pixel_mean"} & values.keys():
        kind = (member["likelihood"], member["pixel_mean"])
        parts.insert(0, _LIKELIHOODS.get(kind, str(member["likelihood"]).capitalize()))
    return ", ".join(parts)
