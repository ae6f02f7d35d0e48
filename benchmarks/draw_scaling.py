"""The number of trials that one driver can serve: its time for a report, and its load, against the trials at once.

python benchmarks/draw_scaling.py --results benchmarks/results/scaling.json --output docs
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
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from larvae.errors import InvalidInputError
from sweeps.analysis import script, style

FIGURE = "scaling_driver.png"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw what benchmarks/scaling.py has measured against the number of trials at once."""

    results: Path = Path("benchmarks/results/scaling.json")
    """Results that benchmarks/scaling.py wrote."""
    output: Path = Path("figures")
    """Directory that the figure (PNG) is written to."""


class Curve(NamedTuple):
    """Points of one kind, in the order of their trials at once."""

    label: str
    points: tuple[dict[str, Any], ...]

    def values(self, name: str) -> list[float]:
        return [float(point[name]) for point in self.points]


class Panel(NamedTuple):
    """The content of one pair of axes."""

    name: str
    """Name of the number in the results."""
    label: str
    limit: float | None = None
    """A line that must not be crossed."""


PANELS = (
    Panel("milliseconds_per_result", "driver, ms for a report"),
    Panel("busy_share", "driver's busy share", 1.0),
    Panel("trial_waiting_share", "trials' waiting share", 1.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Read, draw and write. Raises InvalidInputError before anything is written."""
    try:
        points = json.loads(arguments.results.read_text())["points"]
        processors = ", ".join(sorted({str(point["processor"]) for point in points}))
        figure = scaling_figure(curves_of(points), processors)
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = "`results` must be what benchmarks/scaling.py wrote"
        raise InvalidInputError(f"{rule}, got `{arguments.results}`: {error}") from None
    script.write_all(arguments.output, {FIGURE: style.figure_bytes(figure, "png")})
    print(arguments.output / FIGURE)


def curves_of(points: Sequence[dict[str, Any]]) -> list[Curve]:
    """Curves by version of the project and members a trial; of those without MLflow, whose server would add its own."""
    kinds: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for point in points:
        if point["mlflow"] == "none":
            kinds.setdefault((point["label"], point["members_per_trial"]), []).append(point)
    curves = []
    for (label, members), alike in kinds.items():
        words = f"{label}, {members} members a trial" if members > 1 else label
        curves.append(Curve(words, tuple(sorted(alike, key=lambda point: point["trials"]))))
    return curves


def scaling_figure(curves: Sequence[Curve], processors: str) -> Figure:
    """A panel a number, all against the trials at once, both logarithmic."""
    if not curves:
        raise ValueError("it has no curve")
    with mpl.rc_context(style.STYLE):
        notes = [f"Real driver, simulated trials; one process on {processors}."]
        figure = style.figure_with_notes(2.2, notes)
        for ax, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
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
    for axis in (ax.xaxis, ax.yaxis):
        _label(axis)
    if panel.limit is not None:
        ax.axhline(panel.limit, color=style.GREY, linewidth=0.8, linestyle="--", zorder=1)
    ax.set_xlabel("trials at once")
    ax.set_ylabel(panel.label)
    return ax


def _label(axis: Axis) -> None:
    """Numbers at powers of ten, and between them where there are few."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high >= 50 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    sys.exit(main())
