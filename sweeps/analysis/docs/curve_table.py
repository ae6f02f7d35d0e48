"""The table of what decides the curve: a line a setting and metric, the mean at each τ, what the highest τ changes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from sweeps.analysis.comparisons import p_text
from sweeps.analysis.course import Course
from sweeps.analysis.differences import DIFFERENCE_METRICS, differences_frame
from sweeps.analysis.docs.written_pages import markdown_table, number_text
from sweeps.analysis.estimates import has_result
from sweeps.analysis.names import written
from sweeps.analysis.parameters import TAU, value_text
from sweeps.analysis.settings import Setting
from sweeps.kept.kept_studies import CURVE_TAUS

_ITERATIONS = 4_000


def curve_members(courses: Mapping[str, Course]) -> pd.DataFrame:
    """Members of `curve`, and those of `study` that are like them but for the likelihood, where these were then."""
    members = [courses["curve"].end]
    if "study" in courses and _ITERATIONS in courses["study"].on_the_way:
        others = courses["study"].on_the_way[_ITERATIONS]
        alike = (others["label_rate"] == 0.01) & (others["z_dim"] == 5) & others["tau"].isin(CURVE_TAUS)
        members.append(others[alike])
    return pd.concat(members, ignore_index=True)


def curve_table(settings: list[Setting]) -> str:
    """A line a setting and metric: means of each τ, and the paired difference of the last from the first."""
    first, last = CURVE_TAUS[0], CURVE_TAUS[-1]
    means = [f"τ = {tau:g}" for tau in CURVE_TAUS]
    head = ["setting", "metric", *means, f"τ = {last:g} less τ = {first:g}", "p", "seeds"]
    return markdown_table(head, [line for setting in settings for line in _lines(setting)], num_texts=2)


def _lines(setting: Setting) -> list[list[str]]:
    differences = differences_frame(setting.members, TAU)
    lasts = differences[differences["tau"] == CURVE_TAUS[-1]].to_dict("records")
    return [_line(setting, metric, last) for metric in DIFFERENCE_METRICS for last in lasts if last["metric"] == metric]


def _line(setting: Setting, metric: str, last: Mapping[Hashable, Any]) -> list[str]:
    """last: the row of differences of the highest τ."""
    members = setting.members[has_result(setting.members, metric)]
    means = [members[metric][members["tau"] == tau].mean() for tau in CURVE_TAUS]
    interval = f" [{number_text(last['ci_low'])}, {number_text(last['ci_high'])}]" if last["num_pairs"] > 1 else ""
    return [
        setting.name,
        written(metric),
        *map(number_text, means),
        number_text(last["mean_difference"]) + interval,
        p_text(last["p_value"], last["p_holm"], starred=False).strip(),
        value_text(last["num_pairs"]),
    ]
