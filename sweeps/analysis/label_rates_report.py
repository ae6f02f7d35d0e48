"""Figs. 2, E.1 and E.2: from members to figures, numbers and what the terminal says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import pandas as pd

from sweeps.analysis import comparisons, estimates, spread
from sweeps.analysis.comparisons import LabelRates
from sweeps.analysis.destination import Destination
from sweeps.analysis.drawn import Drawn, csv_files
from sweeps.analysis.figures import label_rate_figures

STEM = "label_rates"


def drawn(compared: Sequence[LabelRates], members: pd.DataFrame) -> Drawn:
    """A figure a metric, and their numbers."""
    parameters = ["dataset", "regulariser", "gamma_tc", "tau"]
    frames = {
        f"{STEM}.csv": comparisons.comparisons_frame(compared),
        f"{STEM}_spread.csv": spread.spread_frame(compared),
        f"{STEM}_members.csv": estimates.members_frame(members, parameters),
    }
    figures = {f"{STEM}_{r.metric}": partial(label_rate_figures.label_rate_figure, r) for r in compared}
    return Drawn(figures, csv_files(frames))


def write_report(loaded: pd.DataFrame, given_tau: float | None, place: Destination) -> None:
    """Compare, draw, write, and print the differences. Raises InvalidInputError before anything is written.

    loaded: rows of `load_members`. given_tau: LaRVAE's τ; None where the study has only one > 0.
    """
    members, tau = comparisons.choose_members(place.study, loaded, given_tau)
    compared = comparisons.compare(place.study, members, tau)
    contents = drawn(compared, members).contents()
    place.write(contents)
    tables = [
        table for rates in compared for table in (comparisons.comparisons_table(rates), spread.spread_table(rates))
    ]
    print("\n\n".join([compared[0].heading, *tables]))
    for note in estimates.caution([number for rates in compared for number in rates.iterations]):
        print(f"\n{note}")
    for description in dict.fromkeys(missing.description for rates in compared for missing in rates.missing):
        print(f"missing: {description}", file=sys.stderr)
    place.tell(contents)
