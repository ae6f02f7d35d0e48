"""Controls for label replacement: from members to figure, numbers and what the terminal says."""

from __future__ import annotations

import pandas as pd

from sweeps.analysis import estimates
from sweeps.analysis.controls import FIELDS, Controls, contrasts_frame, controls, table
from sweeps.analysis.destination import Destination
from sweeps.analysis.drawn import Drawn, csv_files
from sweeps.analysis.figures.control_figures import control_figure


def drawn(found: Controls, members: pd.DataFrame) -> Drawn:
    """The figure of controls, and its numbers."""
    frames = {"controls.csv": contrasts_frame(found), "controls_members.csv": estimates.members_frame(members, FIELDS)}
    return Drawn({"controls": lambda: control_figure(found)}, csv_files(frames))


def write_report(members: pd.DataFrame, place: Destination) -> None:
    """Compare, draw, write, and print the differences. Raises InvalidInputError before anything is written."""
    found = controls(place.study, members)
    contents = drawn(found, members).contents()
    place.write(contents)
    print(table(found))
    for note in estimates.caution(found.iterations):
        print(note)
    place.tell(contents)
