"""The pictures of README and docs that kept results give."""

from __future__ import annotations

import pandas as pd

from sweeps.analysis import comparisons, controls_report, label_rates_report, sensitivity_report
from sweeps.analysis.claims import claims_report
from sweeps.analysis.controls import controls
from sweeps.analysis.docs.curve_table import curve_members
from sweeps.analysis.docs.kept_results import KeptResults
from sweeps.analysis.drawn import Drawn
from sweeps.analysis.load import apart
from sweeps.analysis.load_kept import with_planned
from sweeps.analysis.parameters import TAU, Z_DIM, Parameter, varies
from sweeps.analysis.settings import by_setting
from sweeps.kept.kept_studies import STUDIES


def kept_pictures(kept: KeptResults) -> list[Drawn]:
    """Figures of the kept studies, by the names that pictures have in docs: of those that have the members."""
    members = {name: with_planned(course.end, STUDIES[name]().members) for name, course in kept.courses.items()}
    of_study = [one for one in kept.verdicts if one.study == "study"]  # a table has the others, too
    pictures = [claims_report.drawn(kept.judgement._replace(verdicts=of_study))]
    if "control" in members:
        pictures.append(controls_report.drawn(controls("control", members["control"]), members["control"]))
    if "curve" in members:
        pictures.append(_sensitivity("curve", "curve", curve_members(kept.courses), TAU))
    if "study" in members:
        swept = [p for p in (TAU, Z_DIM) if any(varies(some, p.name) for some in apart(members["study"], p.name))]
        pictures += [_sensitivity(f"study_{one.name}", "study", members["study"], one) for one in swept]
    return pictures + [_label_rates(name, members[name]) for name in ("label-rates", "look-alike") if name in members]


def _sensitivity(name: str, study: str, members: pd.DataFrame, parameter: Parameter) -> Drawn:
    settings = by_setting(members, parameter)
    found = sensitivity_report.estimated(study, settings, parameter)
    drawn = sensitivity_report.drawn(members, parameter, settings, found)
    [figure] = drawn.figures.values()
    return drawn._replace(figures={name: figure})


def _label_rates(study: str, members: pd.DataFrame) -> Drawn:
    chosen, tau = comparisons.choose_members(study, members, None)
    drawn = label_rates_report.drawn(comparisons.compare(study, chosen, tau), chosen)
    return drawn._replace(figures={f"{study}-mig".replace("-", "_"): drawn.figures["label_rates_mig"]})
