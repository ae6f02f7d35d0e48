"""Sensitivity to τ (Fig. 3a of the paper) from what a sweep has logged to MLflow.

python analysis/sensitivity.py --tracking-uri sqlite:///mlflow.db --output figures
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from analysis import estimates, figures, load
from larvae.errors import InvalidInputError

PARAMETER = estimates.TAU


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw MIG and ℓ2 against τ, one line a label rate, with intervals over seeds."""

    tracking_uri: str = "sqlite:///mlflow.db"
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path = Path("figures")
    """Directory that the figure (PNG, PDF) and its numbers (CSV) are written to."""
    study: str | None = None
    """Name of the study, by default the newest that varies τ."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    try:
        draw(tyro.cli(Arguments, args=arguments))
    except InvalidInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def draw(arguments: Arguments) -> None:
    """Load, estimate, draw, write, and print the means. Raises InvalidInputError before anything is written."""
    study = arguments.study or load.find_study(arguments.tracking_uri, PARAMETER.name)
    members = load.load_members(arguments.tracking_uri, study)
    sensitivity = estimates.estimate_sensitivity(study, members, PARAMETER)
    figure = figures.sensitivity_figure(sensitivity)
    stem = f"{PARAMETER.name}_sensitivity"
    contents = {
        f"{stem}.png": figures.figure_bytes(figure, "png"),
        f"{stem}.pdf": figures.figure_bytes(figure, "pdf"),
        f"{stem}.csv": estimates.summary_frame(sensitivity).to_csv(index=False).encode(),
        f"{stem}_members.csv": estimates.members_frame(members, PARAMETER).to_csv(index=False).encode(),
    }
    write_all(arguments.output, contents)
    print(estimates.means_table(sensitivity))
    for missing in sensitivity.missing:
        print(f"missing: {sensitivity.describe(missing)}", file=sys.stderr)
    for name in contents:
        print(arguments.output / name)


def write_all(directory: Path, contents: dict[str, bytes]) -> None:
    """Write the files, each whole or not at all. Raises InvalidInputError when the directory refuses them."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (directory / f".{name}.unfinished").write_bytes(content)
        for name in contents:
            (directory / f".{name}.unfinished").replace(directory / name)
    except OSError as error:
        raise InvalidInputError(
            f"`output` must be a directory that can be written, got {directory}: {error}"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
