"""The page of a study: its parts, drawn and framed, in one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.embed import components
from bokeh.resources import Resources
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sweeps.analysis.names import written
from sweeps.analysis.parameters import symbol
from sweeps.analysis.report import (
    claim_rows,
    costs,
    gallery,
    headline,
    member_table,
    missing,
    page_charts,
    provenance_facts,
)
from sweeps.analysis.report.colours import coloured
from sweeps.analysis.report.member_source import field_column, member_source, results
from sweeps.analysis.report.study_record import StudyRecord

_FOLDER = Path(__file__).parent
_SECTIONS = [
    ("result", "Result"),
    ("claims", "Claims"),
    ("curves", "Fields"),
    ("learning", "Learning curves"),
    ("members", "Members"),
    ("traversals", "Traversals"),
    ("missing", "Failures"),
    ("cost", "Cost"),
    ("provenance", "Provenance"),
]
_MOST_CARDS = 3


def page(record: StudyRecord, uri: str = "") -> str:
    """The whole page. uri: MLflow's address, whose password shall not be in the command that is shown."""
    colouring = coloured(record.members, page_charts.coloured_by(record))
    members = member_source(record, colouring.colours)
    charts = page_charts.charts(record, members, colouring)
    learning = page_charts.learning(record, members, colouring)
    table = member_table.member_table(record, members)
    roots = [plot for chart in (*charts, learning) for plot in chart.plots]
    script, divs = _embedded([*roots, table])
    places = iter([Markup(div) for div in divs])
    charts = [chart.placed(places) for chart in charts]
    learning = learning.placed(places)
    scripts = {
        "bokeh": "\n".join(Resources(mode="inline", components=["bokeh", "bokeh-tables"]).js_raw),
        "plots": script,
        "script": (_FOLDER / "report_page.js").read_text("utf-8"),
    }
    words = _words(record, uri)
    empty = {name for name, parts in (("curves", charts), ("claims", words["claims"])) if not parts}
    return _template().render(
        **words,
        **{name: Markup(text) for name, text in scripts.items()},
        policy=_policy(scripts.values()),
        style=Markup((_FOLDER / "report_page.css").read_text("utf-8")),
        sections=[section for section in _SECTIONS if section[0] not in empty],
        charts=charts,
        learning=learning,
        table=next(places),
        choices=member_table.choices(record, members),
        settings={"card": _card(record), "run_page": record.origin.run_page, "most_cards": _MOST_CARDS},
    )


def _embedded(roots: list[Any]) -> tuple[str, Sequence[str]]:
    """The script that draws plots, as one document, and their places in the page."""
    document = Document()
    with document.models.freeze():  # else all models are counted anew after each root
        for root in roots:
            document.add_root(root)
    return components(roots, wrap_script=False)


def _words(record: StudyRecord, uri: str) -> dict[str, Any]:
    """The parts of the page that are text, tables and pictures."""
    begun = sum(bool(record.trained_of(member).rows) for member in record.members["hash"])
    return {
        "study": record.study,
        "headline": headline.headline(record),
        "header": headline.HEADER,
        "claims": claim_rows.claim_rows(record),
        "claims_header": claim_rows.HEADER,
        "is_search": record.search is not None,
        "num_members": len(record.members),
        "origin": record.origin,
        "exhibits": gallery.gallery(record),
        "most_pictures": gallery.MOST_PICTURES,
        "gaps": missing.gaps(record),
        "unknown_curves": len(record.members) - begun,
        "cost": costs.cost_words(record),
        "origin_facts": provenance_facts.origin_facts(record),
        "shared": provenance_facts.shared_configuration(record),
        "page_facts": provenance_facts.page_facts(uri),
    }


def _template() -> Any:
    """The frame, in which all text is escaped but what is Markup."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment.from_string((_FOLDER / "report_page.html.jinja").read_text("utf-8"))


def _policy(scripts: Iterable[str]) -> str:
    """The policy by which a browser runs these scripts alone, and loads nothing."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    nothing = "; ".join(f"{name} 'none'" for name in ("default-src", "form-action", "base-uri"))
    return f"{nothing}; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _card(record: StudyRecord) -> list[tuple[str, str, int]]:
    """Columns of the source that a marked member's card shows: column, title and digits after the point."""
    fields = [(field_column(name), symbol(name), 8) for name in record.fields]
    metrics = [(str(name), written(str(name)), 4) for name in results(record)]
    first = [("label", "member", 0), ("hash", "hash", 0), ("status", "status", 0), ("reason", "reason", 0)]
    return [*first, *fields, ("seed", "seed", 0), ("iterations", "iterations", 0), *metrics, ("seconds", "seconds", 0)]
