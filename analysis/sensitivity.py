"""Sensitivity to τ or to z_dim (Figs. 3a and 3b of the paper) from what a sweep has logged to MLflow.

python analysis/sensitivity.py --tracking-uri sqlite:///mlflow.db --output figures
python analysis/sensitivity.py --parameter z_dim
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import estimates, load, script, sensitivity_figures, style
from larvae.errors import require_known


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw MIG and ℓ2 against τ or the dimension of z, one line a label rate, with intervals over seeds."""

    parameter: str = estimates.TAU.name
    """tau, or z_dim."""
    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path = Path("figures")
    """Directory that the figure (PNG, PDF) and its numbers (CSV) are written to."""
    study: str | None = None
    """Name of the study, by default the newest that varies the parameter."""

    def __post_init__(self) -> None:
        require_known("parameter", self.parameter, estimates.PARAMETERS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, estimate, draw, write, and print the means. Raises InvalidInputError before anything is written."""
    parameter = estimates.PARAMETERS[arguments.parameter]
    study = arguments.study or load.find_study(arguments.tracking_uri, parameter.name)
    members = load.load_members(arguments.tracking_uri, study)
    sensitivity = estimates.estimate_sensitivity(study, members, parameter)
    figure = sensitivity_figures.sensitivity_figure(sensitivity)
    stem = f"{parameter.name}_sensitivity"
    contents = {
        f"{stem}.png": style.figure_bytes(figure, "png"),
        f"{stem}.pdf": style.figure_bytes(figure, "pdf"),
        f"{stem}.csv": estimates.summary_frame(sensitivity).to_csv(index=False).encode(),
        f"{stem}_members.csv": estimates.members_frame(members, [parameter.name]).to_csv(index=False).encode(),
    }
    script.write_all(arguments.output, contents)
    print(estimates.means_table(sensitivity))
    for missing in sensitivity.missing:
        print(f"missing: {missing.description}", file=sys.stderr)
    for name in contents:
        print(arguments.output / name)


if __name__ == "__main__":
    sys.exit(main())
