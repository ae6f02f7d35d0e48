"""How many trials one driver can serve: its time for a report, its load, and MLflow's, against the trials at once.

python analysis/scaling_curves.py --results benchmarks/results/scaling.json --output docs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import script, style
from larvae.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw what benchmarks/scaling.py has measured against the number of trials at once."""

    results: Path = Path("benchmarks/results/scaling.json")
    """What benchmarks/scaling.py wrote."""
    output: Path = Path("figures")
    """Directory that the figures (PNG) are written to."""


class Curve(NamedTuple):
    """Points of one kind, in the order of their trials at once."""

    label: str
    points: tuple[dict[str, Any], ...]

    def values(self, name: str) -> list[float]:
        return [float(point[name]) for point in self.points]


class Panel(NamedTuple):
    """What is drawn on one pair of axes."""

    name: str
    """Of the number in the results."""
    label: str
    limit: float | None = None
    """A line that must not be crossed."""


DRIVER = (
    Panel("milliseconds_per_result", "driver, ms for a report"),
    Panel("busy_share", "driver's busy share", 1.0),
    Panel("trial_waiting_share", "trials' waiting share", 1.0),
)
MLFLOW = (
    Panel("mlflow_requests_per_second", "MLflow requests a second"),
    Panel("mlflow_points_per_second", "points a second"),
    Panel("mlflow_writing_share", "writing threads' busy share", 1.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Read, draw and write. Raises InvalidInputError before anything is written."""
    try:
        points = json.loads(arguments.results.read_text())["points"]
        processors = ", ".join(sorted({str(point["processor"]) for point in points}))
        figures = {
            "scaling_driver.png": scaling_figure(driver_curves(points), DRIVER, processors),
            "scaling_mlflow.png": scaling_figure(mlflow_curves(points), MLFLOW, processors),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = "`results` must be what benchmarks/scaling.py wrote"
        raise InvalidInputError(f"{rule}, got `{arguments.results}`: {error}") from None
    script.write_all(arguments.output, {name: style.figure_bytes(figure, "png") for name, figure in figures.items()})
    for name in figures:
        print(arguments.output / name)


def driver_curves(points: Sequence[dict[str, Any]]) -> list[Curve]:
    """By version of the project and members a trial, MLflow not being there."""
    return _curves([p for p in points if p["mlflow"] == "none"], ("label", "members_per_trial"))


def mlflow_curves(points: Sequence[dict[str, Any]]) -> list[Curve]:
    """By version and kind of MLflow."""
    return _curves([p for p in points if p["mlflow"] != "none"], ("label", "mlflow"))


def scaling_figure(curves: Sequence[Curve], panels: Sequence[Panel], processors: str) -> Figure:
    """A panel a number, all against the trials at once, both logarithmic."""
    if not curves:
        raise ValueError("it has no curve")
    with mpl.rc_context(style.STYLE):
        notes = [f"Real driver, simulated trials with a row each 5 s (median); one process on {processors}."]
        figure = style.figure_with_notes(2.2, notes)
        for ax, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
            draw_panel(ax, panel, curves)
        handles = [style.legend_handle(index, curve.label) for index, curve in enumerate(curves)]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def draw_panel(ax: Axes, panel: Panel, curves: Sequence[Curve]) -> Axes:
    """Draw all curves of one number."""
    for index, curve in enumerate(curves):
        style_of_curve: dict[str, Any] = {
            "color": style.PALETTE[index],
            "marker": style.MARKERS[index],
            "markersize": 4,
        }
        ax.plot(curve.values("trials"), curve.values(panel.name), linewidth=1.1, clip_on=False, **style_of_curve)
    ax.set_xscale("log")
    ax.set_yscale("log")
    if panel.limit is not None:
        ax.axhline(panel.limit, color=style.GREY, linewidth=0.8, linestyle="--", zorder=1)
    ax.set_xlabel("trials at once")
    ax.set_ylabel(panel.label)
    return ax


def _curves(points: Sequence[dict[str, Any]], keys: tuple[str, str]) -> list[Curve]:
    kinds = dict.fromkeys(tuple(point[key] for key in keys) for point in points)
    curves = []
    for kind in kinds:
        of_kind = [point for point in points if tuple(point[key] for key in keys) == kind]
        curves.append(Curve(_described(*kind), tuple(sorted(of_kind, key=lambda point: point["trials"]))))
    return curves


def _described(label: str, other: str | int) -> str:
    if isinstance(other, int):
        return f"{label}, {other} members a trial" if other > 1 else label
    return f"{label}, {'server with PostgreSQL' if other == 'http' else 'SQLite'}"


if __name__ == "__main__":
    sys.exit(main())
