"""Ways to search against each other: best held-out MIG by device seconds, from what benchmarks/search_pays.py wrote.

python benchmarks/draw_search_pays.py --results benchmarks/results/search_pays.json --output docs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from larvae.errors import InvalidInputError
from sweeps.analysis import script, style


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw the best held-out MIG of several ways to search against device seconds, a thin line a repetition."""

    results: Path = Path("benchmarks/results/search_pays.json")
    """Results that benchmarks/search_pays.py wrote."""
    output: Path = Path("figures")
    """Directory that the figure (PNG, PDF) is written to."""


class Course(NamedTuple):
    """One way to search."""

    method: str
    repetitions: tuple[NDArray[np.float64], ...]
    """Device seconds and best held-out MIG so far, (n, 2), of each."""

    def mean_at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over repetitions at some device seconds, (m,); NaN until all have a result."""
        rows = []
        for repetition in self.repetitions:
            known = np.searchsorted(repetition[:, 0], seconds, side="right")
            rows.append(np.where(known > 0, repetition[np.maximum(known - 1, 0), 1], np.nan))
        return np.mean(rows, axis=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Read, draw and write. Raises InvalidInputError before anything is written."""
    try:
        results = json.loads(arguments.results.read_text())
        found = courses(results)
        budget, processor = float(results["device_seconds"]), str(results["processor"])
        if not found:
            raise ValueError("it has no curve")
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = "`results` must be what benchmarks/search_pays.py wrote"
        raise InvalidInputError(f"{rule}, got `{arguments.results}`: {error}") from None
    figure = comparison_figure(found, budget, processor)
    contents = {f"search_comparison.{kind}": style.figure_bytes(figure, kind) for kind in ("png", "pdf")}
    script.write_all(arguments.output, contents)
    for name in contents:
        print(arguments.output / name)


def courses(results: dict[str, Any]) -> list[Course]:
    """The ways to search that a result has, in its order."""
    methods = [name for name, value in results.items() if isinstance(value, dict) and "best_so_far" in value]
    return [
        Course(method, tuple(np.array(curve, float).reshape(-1, 2) for curve in results[method]["best_so_far"]))
        for method in methods
    ]


def comparison_figure(found: Sequence[Course], budget: float, processor: str) -> Figure:
    """budget: device seconds that all have had."""
    with mpl.rc_context(style.STYLE):
        repetitions = len(found[0].repetitions)
        notes = [
            f"The configuration of the best mean over its finished seeds; thin: {repetitions} repetitions, "
            f"thick: their mean once all have a result. Device seconds: of all trials, on cores of {processor}."
        ]
        figure = style.figure_with_notes(2.3, notes)
        ax = figure.subplots()
        for index, course in enumerate(found):
            draw_course(ax, course, index, budget)
        ax.set_xlim(0, budget)
        ax.set_xlabel("device time (seconds)")
        ax.set_ylabel("best held-out MIG")
        handles = [style.legend_handle(index, course.method) for index, course in enumerate(found)]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def draw_course(ax: Axes, course: Course, index: int, budget: float) -> Axes:
    """Draw the repetitions of one way to search as steps, and their mean."""
    colour = style.PALETTE[index]
    for repetition in course.repetitions:
        seconds, values = np.append(repetition[:, 0], budget), np.append(repetition[:, 1], repetition[-1, 1])
        ax.step(seconds, values, where="post", color=colour, linewidth=0.6, alpha=0.5)
    seconds = np.linspace(0, budget, 1000)
    means = course.mean_at(seconds)
    ax.plot(seconds, means, color=colour, linewidth=1.6)
    known = np.flatnonzero(np.isfinite(means))
    marked = known[np.linspace(0, len(known) - 1, 6).astype(int)[1:-1]] if len(known) else known
    ax.plot(seconds[marked], means[marked], style.MARKERS[index], color=colour, markersize=4)
    return ax


if __name__ == "__main__":
    sys.exit(main())
