"""Controls for label replacement: from members to figure, numbers and what the terminal says."""

from __future__ import annotations

import pandas as pd

from sweeps.analysis import estimates, style
from sweeps.analysis.controls import FIELDS, contrasts_frame, controls, table
from sweeps.analysis.destination import Destination
from sweeps.analysis.figures.control_figures import control_figure


def write_report(members: pd.DataFrame, place: Destination) -> None:
    """Compare, draw, write, and print the differences. Raises InvalidInputError before anything is written."""
    found = controls(place.study, members)
    figure = control_figure(found)
    contents = {f"controls.{kind}": style.figure_bytes(figure, kind) for kind in ("png", "pdf")}
    contents["controls.csv"] = contrasts_frame(found).to_csv(index=False).encode()
    contents["controls_members.csv"] = estimates.members_frame(members, FIELDS).to_csv(index=False).encode()
    place.write(contents)
    print(table(found))
    for note in estimates.caution(found.iterations):
        print(note)
    place.tell(contents)
