"""The tables of docs that kept results give, each between two comments of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sweeps.analysis.controls import controls
from sweeps.analysis.docs.arms_table import arms_table
from sweeps.analysis.docs.curve_table import curve_members, curve_table
from sweeps.analysis.docs.findings_tables import cases_table, claims_table, studies_table
from sweeps.analysis.docs.kept_results import KeptResults
from sweeps.analysis.docs.tau_table import tau_table
from sweeps.analysis.docs.written_pages import with_table
from sweeps.analysis.parameters import TAU
from sweeps.analysis.settings import by_setting

_TABLES: Mapping[str, Mapping[str, Callable[[KeptResults], str]]] = {
    "findings.md": {
        "taus": lambda kept: tau_table(kept.courses["study"].end),
        "studies": studies_table,
        "verdicts": lambda kept: claims_table(kept.verdicts),
        "cases": lambda kept: cases_table(kept.verdicts),
    },
    "what-decides-the-curve.md": {"table": lambda kept: curve_table(by_setting(curve_members(kept.courses), TAU))},
    "controls.md": {"table": lambda kept: arms_table(controls("control", kept.courses["control"].end))},
}
"""Pages, by their names, and what writes each of their tables."""
_NEEDED = {"findings.md": {"study"}, "what-decides-the-curve.md": {"curve"}, "controls.md": {"control"}}
"""Studies without which a page stays as it is."""


def pages_with_tables(kept: KeptResults, folder: Path) -> dict[Path, str]:
    """Pages of a folder as they are with the tables that kept results give."""
    pages = {}
    for name, tables in _TABLES.items():
        if (path := folder / name).exists() and _NEEDED.get(name, set()) <= kept.results.keys():
            page = path.read_text("utf-8")
            for place, table in tables.items():
                page = with_table(page, table(kept), place)
            pages[path] = page
    return pages
