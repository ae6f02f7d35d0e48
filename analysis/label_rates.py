"""LaRVAE against semi-supervised baselines over label rates (Figs. 2, E.1 and E.2) from what a sweep has logged.

python analysis/label_rates.py --tracking-uri sqlite:///mlflow.db --output figures
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.analysis import comparisons, estimates, load, script, spread, style
from sweeps.analysis.figures import label_rate_figures

STEM = "label_rates"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw each metric against the label rate, a row a data set and a column a regulariser, and test differences."""

    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path = Path("figures")
    """Directory that the figures (PNG, PDF) and their numbers (CSV) are written to."""
    study: str | None = None
    """Name of the study, by default the newest that compares τ = 0 with τ > 0 at several label rates."""
    tau: float | None = None
    """LaRVAE's τ; needed where the study has several > 0."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, compare, draw, write, and print the differences. Raises InvalidInputError before anything is written."""
    study = arguments.study or load.find_label_rate_study(arguments.tracking_uri)
    loaded = load.load_members(arguments.tracking_uri, study)
    members, tau = comparisons.choose_members(study, loaded, arguments.tau)
    compared = comparisons.compare(study, members, tau)
    contents = {}
    for rates in compared:
        figure = label_rate_figures.label_rate_figure(rates)
        for kind in ("png", "pdf"):
            contents[f"{STEM}_{rates.metric}.{kind}"] = style.figure_bytes(figure, kind)
    contents[f"{STEM}.csv"] = comparisons.comparisons_frame(compared).to_csv(index=False).encode()
    contents[f"{STEM}_spread.csv"] = spread.spread_frame(compared).to_csv(index=False).encode()
    parameters = ["dataset", "regulariser", "gamma_tc", "tau"]
    contents[f"{STEM}_members.csv"] = estimates.members_frame(members, parameters).to_csv(index=False).encode()
    script.write_all(arguments.output, contents)
    tables = [
        table for rates in compared for table in (comparisons.comparisons_table(rates), spread.spread_table(rates))
    ]
    print("\n\n".join([compared[0].heading, *tables]))
    for note in estimates.caution(compared[0].iterations):
        print(f"\n{note}")
    for description in dict.fromkeys(missing.description for rates in compared for missing in rates.missing):
        print(f"missing: {description}", file=sys.stderr)
    for name in contents:
        print(arguments.output / name)


if __name__ == "__main__":
    sys.exit(main())
