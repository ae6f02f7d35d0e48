"""Colours of members by one field of theirs, with a legend: few values by name, many in order or in ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd

from sweeps.analysis.parameters import symbol, value_text
from sweeps.analysis.style import PALETTE

GREY = "#808080"
_SCALE = ("#2F7FD9", "#8A6BDB", "#C957B4", "#E25D78", "#E27F43", "#D0A021")
_MOST_RANGES = 6


class Colouring(NamedTuple):
    """A colour a member, and what the colours mean."""

    title: str
    """Symbol of the field; empty where all have one colour."""
    colours: list[str]
    legend: list[tuple[str, str]]
    """Text and colour."""

    def groups(self) -> dict[str, list[int]]:
        """Places of the members of each colour."""
        found: dict[str, list[int]] = {}
        for place, colour in enumerate(self.colours):
            found.setdefault(colour, []).append(place)
        return found


def coloured(members: pd.DataFrame, field: str) -> Colouring:
    """Colour members by a field: six values one by one, more numbers in ranges, more names as others."""
    if not field or members[field].nunique(dropna=False) < 2:
        return Colouring("", [PALETTE[0]] * len(members), [])
    title, values = symbol(field), members[field]
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > len(PALETTE):
        return _in_ranges(title, values)
    known = sorted(set(values), key=lambda value: (str(type(value)), value))
    shown = known[: len(PALETTE)]
    palette = _ordered(len(shown)) if pd.api.types.is_numeric_dtype(values) and len(shown) > 2 else PALETTE
    by_value: dict[Any, str] = dict(zip(shown, palette, strict=False))
    legend = [(value_text(value), by_value[value]) for value in shown]
    if len(known) > len(shown):
        legend.append(("others", GREY))
    return Colouring(title, [by_value.get(value, GREY) for value in values], legend)


def _in_ranges(title: str, values: pd.Series[Any]) -> Colouring:
    parts = pd.qcut(values, _MOST_RANGES, duplicates="drop")
    groups = [values[parts == part] for part in parts.cat.categories]
    palette = _ordered(len(groups))
    legend = [
        (value_text(g.min()) if g.min() == g.max() else f"{g.min():.3g} to {g.max():.3g}", colour)
        for g, colour in zip(groups, palette, strict=True)
        if len(g)
    ]
    return Colouring(title, [palette[code] if code >= 0 else GREY for code in parts.cat.codes], legend)


def _ordered(number: int) -> Sequence[str]:
    """Colours in an order, from blue to yellow: of middle lightness, so that none vanishes on white or on black."""
    scale = mpl.colors.LinearSegmentedColormap.from_list("middle", _SCALE)
    return [mpl.colors.to_hex(shade) for shade in scale(np.linspace(0, 1, number))]
