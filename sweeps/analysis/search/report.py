"""The report of a search: figures, numbers, page and journal from its record."""

from __future__ import annotations

import io
import sys

from sweeps.analysis import style
from sweeps.analysis.destination import Destination
from sweeps.analysis.search import journal, page, ranking, tables
from sweeps.analysis.search.load_search import SearchRecord


def write_report(record: SearchRecord, place: Destination) -> None:
    """Summarise, draw, write, and print the best. Raises InvalidInputError before anything is written."""
    search = ranking.summarise(record)
    seeds = tables.seeds_frame(record, search)
    configurations = tables.configurations_frame(seeds, search)
    table = tables.best_table(configurations, search)
    contents: dict[str, bytes] = {}
    shown = []
    for picture in page.pictures(record, search):
        if picture.figure:
            contents |= {f"{picture.name}.{kind}": style.figure_bytes(picture.figure, kind) for kind in ("png", "pdf")}
        shown.append((picture, contents.get(f"{picture.name}.png")))
    parquet = io.BytesIO()
    seeds.to_parquet(parquet, index=False)
    contents |= {
        "search_seeds.csv": seeds.to_csv(index=False).encode(),
        "search_seeds.parquet": parquet.getvalue(),
        "search_configurations.csv": configurations.to_csv(index=False).encode(),
        page.JOURNAL: journal.journal(record, search),
        "search_report.html": page.page(search, table, shown).encode(),
    }
    place.write(contents)
    print(f"{search.heading}; mean ± sd over seeds")
    print(table.text if table.rows else "no configuration has finished yet")
    for picture, png in shown:
        if png is None:
            print(f"left out: {picture.title} ({picture.missing})", file=sys.stderr)
    for failure in ranking.failures(record, search):
        print(f"failed: {failure}", file=sys.stderr)
    place.tell(contents)
