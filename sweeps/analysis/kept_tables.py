"""The tables of docs that kept results give, each between two comments of its page."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.analysis.comparisons import p_text
from sweeps.analysis.differences import COMPARED_METRICS, differences_frame
from sweeps.analysis.estimates import has_result
from sweeps.analysis.load_kept import load_kept
from sweeps.analysis.names import written
from sweeps.analysis.parameters import TAU, value_text
from sweeps.analysis.settings import Setting, by_setting
from sweeps.analysis.written_pages import with_table

_CURVE_PAGE = "what-decides-the-curve.md"
_ITERATIONS = 4_000
_TAUS = (0.0, 1.0, 10.0)


def pages_with_tables(results: Path, folder: Path) -> dict[Path, str]:
    """Pages of a folder as they are with the tables that kept results give."""
    tables = {folder / _CURVE_PAGE: lambda: curve_table(by_setting(curve_members(results), TAU))}
    return {path: with_table(path.read_text(), table()) for path, table in tables.items() if path.exists()}


def curve_members(results: Path) -> pd.DataFrame:
    """Members of `curve`, and those of `study` that are like them but for the likelihood, where these were then."""
    members = [load_kept(results / "curve")]
    if any((results / "study").glob("*.json")):
        others = load_kept(results / "study", _ITERATIONS)
        alike = (others["label_rate"] == 0.01) & (others["z_dim"] == 5) & others["tau"].isin(_TAUS)
        members.append(others[alike])
    return pd.concat(members, ignore_index=True)


def curve_table(settings: list[Setting]) -> str:
    """A line a setting and metric: means of each τ, and the paired difference of the last from the first."""
    head = ["setting", "metric", *(f"τ = {tau:g}" for tau in _TAUS), "τ = 10 less τ = 0", "p", "seeds"]
    rows = [line for setting in settings for line in _lines(setting)]
    rules = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rules, *rows))


def _lines(setting: Setting) -> list[list[str]]:
    differences = differences_frame(setting.members, TAU)
    lasts = differences[differences["tau"] == _TAUS[-1]].to_dict("records")
    return [_line(setting, metric, last) for metric in COMPARED_METRICS for last in lasts if last["metric"] == metric]


def _line(setting: Setting, metric: str, last: Mapping[Hashable, Any]) -> list[str]:
    """last: the row of differences of the highest τ."""
    members = setting.members[has_result(setting.members, metric)]
    means = [members[metric][members["tau"] == tau].mean() for tau in _TAUS]
    interval = f" [{_number(last['ci_low'])}, {_number(last['ci_high'])}]" if last["num_pairs"] > 1 else ""
    return [
        setting.name,
        written(metric),
        *map(_number, means),
        _number(last["mean_difference"]) + interval,
        p_text(last["p_value"], last["p_holm"], starred=False).strip(),
        value_text(last["num_pairs"]),
    ]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")
