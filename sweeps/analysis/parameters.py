"""Fields that sweeps vary, as figures write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sweeps.analysis.names import written

_SYMBOLS = {
    "tau": "τ",
    "z_dim": "dim z",
    "alpha": "α",
    "gamma_tc": "γ_tc",
    "label_rate": "η",
    "pixel_variance": "σ²",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "instance_norm": "instance norm",
    "dataset": "data set",
}
"""Names of fields for people; others are written as they are."""
EMPTY = ("", "()", "[]")
"""Empty values as MLflow and kept results have them: all factors observed, say, or the ELBO's own likelihood."""


class Parameter(NamedTuple):
    """A swept field of MemberConfig: its name and how people write it."""

    name: str
    symbol: str


def symbol(name: str) -> str:
    """The name of a field for people."""
    return _SYMBOLS.get(name, name)


def parameter(name: str) -> Parameter:
    """A field as a figure's parameter."""
    return Parameter(name, symbol(name))


def value_text(value: object) -> str:
    """A value of a field as people write it: numbers short, names by their names, none as the default that it means."""
    if str(value) in EMPTY:
        return "default"
    return f"{value:g}" if is_number(value) else written(str(value))


def is_number(value: object) -> bool:
    """Tell whether a value of a field is a number; True and False are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def in_value_order(values: Iterable[Any]) -> list[Any]:
    """Distinct values of a field: numbers first, then words."""
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))


def setting_name(values: Mapping[str, object]) -> str:
    """A setting in words, such as `τ = 1, η = 0.01`; without what only others have, such as a regulariser's own."""
    known = {name: value for name, value in values.items() if not pd.isna(value)}  # type: ignore[call-overload]
    parts = [f"{symbol(name)} = {value_text(value)}" for name, value in known.items()]
    return ", ".join(parts) or "the only setting"


TAU, Z_DIM = parameter("tau"), parameter("z_dim")


def varies(members: pd.DataFrame, field: str) -> bool:
    """Tell whether members differ in a field."""
    return field in members and members[field].nunique() > 1
