"""The pictures of README and docs that kept results give."""

from __future__ import annotations

from pathlib import Path

from sweeps.analysis import controls_report, sensitivity_report
from sweeps.analysis.claims import claims_report
from sweeps.analysis.controls import controls
from sweeps.analysis.drawn import Drawn
from sweeps.analysis.kept_tables import curve_members
from sweeps.analysis.load_kept import load_kept, load_kept_course
from sweeps.analysis.parameters import TAU
from sweeps.analysis.settings import by_setting

STUDIES = ("study", "curve", "control", "label-rates", "look-alike")
"""Kept studies, in the order in which claims are told of them."""


def kept_pictures(results: Path) -> list[Drawn]:
    """Figures of the kept studies in a folder, by the names that pictures have in docs."""
    return [_controls(results / "control"), _curve(results), _claims(results)]


def _controls(folder: Path) -> Drawn:
    members = load_kept(folder)
    return controls_report.drawn(controls("control", members), members)


def _curve(results: Path) -> Drawn:
    members = curve_members(results)
    settings = by_setting(members, TAU)
    found = sensitivity_report.estimated("curve", settings, TAU)
    drawn = sensitivity_report.drawn(members, TAU, settings, found)
    [figure] = drawn.figures.values()
    return drawn._replace(figures={"curve": figure})


def _claims(results: Path) -> Drawn:
    folders = {name: results / name for name in STUDIES if any((results / name).glob("*.json"))}
    return claims_report.drawn(claims_report.judged({name: load_kept_course(path) for name, path in folders.items()}))
