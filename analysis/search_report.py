"""What an adaptive search has found: best configurations, pictures, numbers, a page, and a journal for Optuna.

python analysis/search_report.py --tracking-uri sqlite:///mlflow.db --output figures
python analysis/search_report.py --study search-quick
optuna-dashboard figures/search_journal.log
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.analysis import script, style
from sweeps.analysis.search import importances, load_search, page, ranking, tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Report on a search over τ, the dimension of z and more: on held-out labels, over seeds, against budget."""

    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path = Path("figures")
    """Directory that figures (PNG, PDF), numbers (CSV, Parquet), page (HTML) and journal are written to."""
    study: str | None = None
    """Name of the study, by default the newest search."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, summarise, draw, write, and print the best. Raises InvalidInputError before anything is written."""
    study = arguments.study or load_search.find_search(arguments.tracking_uri)
    record = load_search.load_search(arguments.tracking_uri, study)
    search = ranking.summarise(record)
    seeds = tables.seeds_frame(record, search)
    configurations = tables.configurations_frame(seeds, search)
    table = tables.best_table(configurations, search)
    contents, shown = {}, []
    for picture in page.pictures(record, search):
        if picture.figure is None:
            print(f"left out: {picture.title} ({picture.missing})", file=sys.stderr)
            continue
        for kind in ("png", "pdf"):
            contents[f"{picture.name}.{kind}"] = style.figure_bytes(picture.figure, kind)
        shown.append((picture, contents[f"{picture.name}.png"]))
    parquet = io.BytesIO()
    seeds.to_parquet(parquet, index=False)
    contents |= {
        "search_seeds.csv": seeds.to_csv(index=False).encode(),
        "search_seeds.parquet": parquet.getvalue(),
        "search_configurations.csv": configurations.to_csv(index=False).encode(),
        page.JOURNAL: importances.journal(record, search),
        "search_report.html": page.page(search, table, shown).encode(),
    }
    script.write_all(arguments.output, contents)
    print(f"{search.heading}; mean ± sd over seeds")
    print(table.text if table.rows else "no configuration has finished yet")
    for failure in ranking.failures(record, search):
        print(f"failed: {failure}", file=sys.stderr)
    for name in contents:
        print(arguments.output / name)


if __name__ == "__main__":
    sys.exit(main())
