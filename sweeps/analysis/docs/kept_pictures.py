"""The pictures of README and docs that kept results give."""

from __future__ import annotations

import pandas as pd

from sweeps.analysis import controls_report, sensitivity_report
from sweeps.analysis.claims import claims_report
from sweeps.analysis.controls import controls
from sweeps.analysis.docs.curve_table import curve_members
from sweeps.analysis.docs.kept_results import KeptResults
from sweeps.analysis.drawn import Drawn
from sweeps.analysis.load import other_parameters
from sweeps.analysis.parameters import TAU, Z_DIM, Parameter, varies
from sweeps.analysis.settings import by_setting


def kept_pictures(kept: KeptResults) -> list[Drawn]:
    """Figures of the kept studies, by the names that pictures have in docs: of those that have the members."""
    members = {name: course.end for name, course in kept.courses.items()}
    pictures = [claims_report.drawn(kept.judgement)]
    if "control" in members:
        pictures.append(controls_report.drawn(controls("control", members["control"]), members["control"]))
    if "curve" in members:
        pictures.append(_sensitivity("curve", "curve", curve_members(kept.courses), TAU))
    if "study" in members:
        swept = [parameter for parameter in (TAU, Z_DIM) if _is_swept(members["study"], parameter)]
        pictures += [_sensitivity(f"study_{one.name}", "study", members["study"], one) for one in swept]
    return pictures


def _is_swept(members: pd.DataFrame, parameter: Parameter) -> bool:
    """True where members differ in a field while all their other settings are equal."""
    names = other_parameters(members, parameter.name)
    settings = [some for _, some in members.groupby(names, dropna=False)] if names else [members]
    return any(varies(some, parameter.name) for some in settings)


def _sensitivity(name: str, study: str, members: pd.DataFrame, parameter: Parameter) -> Drawn:
    settings = by_setting(members, parameter)
    found = sensitivity_report.estimated(study, settings, parameter)
    drawn = sensitivity_report.drawn(members, parameter, settings, found)
    [figure] = drawn.figures.values()
    return drawn._replace(figures={name: figure})
