"""Figs. 3a and 3b: from members to figure, numbers and what the terminal says."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd

from sweeps.analysis import differences, estimates
from sweeps.analysis.destination import Destination
from sweeps.analysis.drawn import Drawn, csv_files
from sweeps.analysis.estimates import Sensitivity
from sweeps.analysis.figures import sensitivity_figures
from sweeps.analysis.parameters import Parameter
from sweeps.analysis.settings import Setting, by_setting


def drawn(
    members: pd.DataFrame, parameter: Parameter, settings: Sequence[Setting], found: Sequence[Sensitivity]
) -> Drawn:
    """The figure of a sweep's settings, and its numbers. found: of each setting."""
    stem = f"{parameter.name}_sensitivity"
    summaries = [
        estimates.summary_frame(sensitivity).assign(**some.values)
        for sensitivity, some in zip(found, settings, strict=True)
    ]
    tests = [differences.differences_frame(some.members, parameter).assign(**some.values) for some in settings]
    frames = {
        f"{stem}.csv": pd.concat(summaries),
        f"{stem}_differences.csv": pd.concat(tests),
        f"{stem}_members.csv": estimates.members_frame(members, [parameter.name, *settings[0].values]),
    }
    return Drawn({stem: lambda: sensitivity_figures.sensitivity_figure(found)}, csv_files(frames))


def estimated(study: str, settings: Sequence[Setting], parameter: Parameter) -> list[Sensitivity]:
    """The sensitivity at each setting. Raises InvalidInputError."""
    return [estimates.estimate_sensitivity(study, some.members, parameter, some.name) for some in settings]


def write_report(members: pd.DataFrame, parameter: Parameter, place: Destination) -> None:
    """Estimate, draw, write, and print the means. Raises InvalidInputError before anything is written."""
    settings = by_setting(members, parameter)
    sensitivities = estimated(place.study, settings, parameter)
    contents = drawn(members, parameter, settings, sensitivities).contents()
    place.write(contents)
    print("\n\n".join(map(estimates.means_table, sensitivities)))
    for note in estimates.caution([number for one in sensitivities for number in one.iterations]):
        print(note)
    for missing in estimates.all_missing(sensitivities):
        print(f"missing: {missing.description}", file=sys.stderr)
    drawn_members = [estimates.identities(some.members) for some in settings]
    if left_out := set(estimates.identities(members)).difference(*drawn_members):
        print(f"left out: {len(left_out)} members of settings with one value of {parameter.symbol}", file=sys.stderr)
    place.tell(contents)
