"""Figs. 3a and 3b: from members to figure, numbers and what the terminal says."""

from __future__ import annotations

import sys

import pandas as pd

from sweeps.analysis import differences, estimates, style
from sweeps.analysis.destination import Destination
from sweeps.analysis.figures import sensitivity_figures
from sweeps.analysis.parameters import Parameter
from sweeps.analysis.settings import by_setting


def write_report(members: pd.DataFrame, parameter: Parameter, place: Destination) -> None:
    """Estimate, draw, write, and print the means. Raises InvalidInputError before anything is written."""
    settings = by_setting(members, parameter)
    sensitivities = [
        estimates.estimate_sensitivity(place.study, some.members, parameter, some.name) for some in settings
    ]
    figure = sensitivity_figures.sensitivity_figure(sensitivities)
    stem = f"{parameter.name}_sensitivity"
    summaries = [
        estimates.summary_frame(sensitivity).assign(**some.values)
        for sensitivity, some in zip(sensitivities, settings, strict=True)
    ]
    tests = [differences.differences_frame(some.members, parameter).assign(**some.values) for some in settings]
    contents = {
        f"{stem}.png": style.figure_bytes(figure, "png"),
        f"{stem}.pdf": style.figure_bytes(figure, "pdf"),
        f"{stem}.csv": pd.concat(summaries).to_csv(index=False).encode(),
        f"{stem}_differences.csv": pd.concat(tests).to_csv(index=False).encode(),
        f"{stem}_members.csv": estimates.members_frame(members, [parameter.name, *settings[0].values])
        .to_csv(index=False)
        .encode(),
    }
    place.write(contents)
    print("\n\n".join(map(estimates.means_table, sensitivities)))
    for note in estimates.caution(sensitivities[0].iterations):
        print(note)
    for missing in (missing for sensitivity in sensitivities for missing in sensitivity.missing):
        print(f"missing: {missing.description}", file=sys.stderr)
    if left_out := len(members) - sum(len(some.members) for some in settings):
        print(f"left out: {left_out} members of settings with one value of {parameter.symbol}", file=sys.stderr)
    place.tell(contents)
