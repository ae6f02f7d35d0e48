"""Fields that sweeps vary, as figures write them."""

from __future__ import annotations

from typing import NamedTuple


class Parameter(NamedTuple):
    """A swept field of MemberConfig: its name and how people write it."""

    name: str
    symbol: str


TAU = Parameter("tau", "τ")
Z_DIM = Parameter("z_dim", "dim z")
PARAMETERS = {parameter.name: parameter for parameter in (TAU, Z_DIM)}
