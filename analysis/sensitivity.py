"""Sensitivity to τ or to z_dim (Figs. 3a and 3b of the paper) from what a sweep has logged to MLflow.

python analysis/sensitivity.py --tracking-uri sqlite:///mlflow.db --output figures
python analysis/sensitivity.py --parameter z_dim
python analysis/sensitivity.py --kept docs/results/curve          results that the repository keeps
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from larvae.errors import InvalidInputError, require_known
from sweeps.analysis import differences, estimates, load, script, style
from sweeps.analysis.figures import sensitivity_figures
from sweeps.analysis.load_kept import load_kept
from sweeps.analysis.settings import by_setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw MIG and ℓ2 against τ or the dimension of z, a line a label rate, with intervals over seeds.

    A study with several α, γ_tc or likelihoods gets a row of panels for each."""

    parameter: str = estimates.TAU.name
    """tau, or z_dim."""
    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path = Path("figures")
    """Directory that the figure (PNG, PDF) and its numbers (CSV) are written to."""
    study: str | None = None
    """Name of the study, by default the newest that varies the parameter."""
    kept: Path | None = None
    """Folder of kept results to draw in place of MLflow's."""
    iterations: int | None = None
    """With --kept: draw results at this iteration. Left out: those at the end."""

    def __post_init__(self) -> None:
        require_known("parameter", self.parameter, estimates.PARAMETERS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, estimate, draw, write, and print the means. Raises InvalidInputError before anything is written."""
    parameter = estimates.PARAMETERS[arguments.parameter]
    study, members = _load(arguments, parameter)
    settings = by_setting(members, parameter)
    sensitivities = [estimates.estimate_sensitivity(study, some.members, parameter, some.name) for some in settings]
    figure = sensitivity_figures.sensitivity_figure(sensitivities)
    stem = f"{parameter.name}_sensitivity"
    summaries = [
        estimates.summary_frame(sensitivity).assign(**some.values)
        for sensitivity, some in zip(sensitivities, settings, strict=True)
    ]
    tests = [differences.differences_frame(some.members, parameter).assign(**some.values) for some in settings]
    contents = {
        f"{stem}.png": style.figure_bytes(figure, "png"),
        f"{stem}.pdf": style.figure_bytes(figure, "pdf"),
        f"{stem}.csv": pd.concat(summaries).to_csv(index=False).encode(),
        f"{stem}_differences.csv": pd.concat(tests).to_csv(index=False).encode(),
        f"{stem}_members.csv": estimates.members_frame(members, [parameter.name, *settings[0].values])
        .to_csv(index=False)
        .encode(),
    }
    script.write_all(arguments.output, contents)
    print("\n\n".join(map(estimates.means_table, sensitivities)))
    for note in estimates.caution(sensitivities[0].iterations):
        print(note)
    for missing in (missing for sensitivity in sensitivities for missing in sensitivity.missing):
        print(f"missing: {missing.description}", file=sys.stderr)
    for name in contents:
        print(arguments.output / name)


def _load(arguments: Arguments, parameter: estimates.Parameter) -> tuple[str, pd.DataFrame]:
    """The study's name and its members."""
    if arguments.kept is not None:
        return arguments.kept.resolve().name, load_kept(arguments.kept, arguments.iterations)
    if arguments.iterations is not None:
        raise InvalidInputError(f"`iterations` must be left out without --kept, got {arguments.iterations}")
    study = arguments.study or load.find_study(arguments.tracking_uri, parameter.name)
    return study, load.load_members(arguments.tracking_uri, study)


if __name__ == "__main__":
    sys.exit(main())
