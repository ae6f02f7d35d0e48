"""The table of the kept τ sweep: a line a metric, weight of the label loss and label rate."""

from __future__ import annotations

import itertools

import pandas as pd

from sweeps.analysis.docs.written_pages import markdown_table, number_text
from sweeps.analysis.estimates import DRAWN_METRICS
from sweeps.analysis.names import written
from sweeps.analysis.parameters import value_text

_DIMENSIONS = 5
"""Dimensions of z in the τ sweep."""


def tau_table(study: pd.DataFrame) -> str:
    """Means over the seeds that have all τ of a line; dashes where there is none.

    study: members of the kept study that have ended, which has a sweep over dimensions of z, too.
    """
    members = study[(study["z_dim"] == _DIMENSIONS) & (study["alpha"] > 0)]
    taus = sorted(members["tau"].unique())
    rows = []
    for metric, alpha in itertools.product(DRAWN_METRICS, sorted(members["alpha"].unique())):
        for rate, some in members[members["alpha"] == alpha].groupby("label_rate"):
            whole = some.pivot(index="seed", columns="tau", values=metric).reindex(columns=taus).dropna()
            means = map(number_text, whole.mean())
            rows.append([written(metric), f"{alpha:g}", f"{100 * float(str(rate)):g} %", str(len(whole)), *means])
    head = ["metric", "α", "η", "seeds", *(f"τ = {value_text(tau)}" for tau in taus)]
    return markdown_table(head, rows, num_texts=1)
