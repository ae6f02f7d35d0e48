"""Draws what benchmarks have measured: how many trials one driver serves, and what searches find in how much time.

python benchmarks/draw.py --output docs
python benchmarks/draw.py --output docs --check           whether pictures and numbers agree
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from larvae.errors import InvalidInputError
from sweeps.analysis import script, style
from sweeps.analysis.drawn import Drawn, require_up_to_date

NUMBERS = {
    "milliseconds_per_result": "driver, ms for a report",
    "busy_share": "driver's busy share",
    "trial_waiting_share": "trials' waiting share",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw how many trials one driver serves, and what searches find in how much time."""

    results: Path = Path("benchmarks/results")
    """Folder of scaling.json and search_pays.json, which the benchmarks of these names have written."""
    output: Path = Path("figures")
    """Directory that the figures (PNG) are written to."""
    check: bool = False
    """Draw nothing; end with 2 where a picture there shows other numbers."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Read, draw and write, or check. Raises InvalidInputError before anything is written."""
    contents: dict[str, bytes] = {}
    for name, figure_of in (("scaling", scaling_figure), ("search_pays", search_figure)):
        path = arguments.results / f"{name}.json"
        try:
            numbers = path.read_bytes()
            drawn = Drawn({name: partial(_styled, figure_of, json.loads(numbers))}, {path.name: numbers})
            contents |= {} if arguments.check else drawn.pictures("png")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            rule = f"`{path}` must be what benchmarks/{name}.py wrote, but"
            raise InvalidInputError(f"{rule}: {error!r}") from None
        if arguments.check:
            require_up_to_date(arguments.output / f"{name}.png", drawn)
    script.write_all(arguments.output, contents)
    for name in contents:
        print(arguments.output / name)


def _styled(figure_of: Callable[[dict[str, Any]], Figure], results: dict[str, Any]) -> Figure:
    with mpl.rc_context(style.STYLE):
        return figure_of(results)


def scaling_figure(results: dict[str, Any]) -> Figure:
    """The driver's time for a report and its load against the trials at once, a curve a version and members a trial.

    Without MLflow, whose server would add its own.
    """
    points = pd.DataFrame(results["points"])
    points = points[points["mlflow"] == "none"].sort_values("trials")
    processors = ", ".join(sorted(points["processor"].unique()))
    figure = style.figure_with_notes(2.2, [f"Real driver, simulated trials; one process on {processors}."])
    handles = []
    row = figure.subplots(1, len(NUMBERS))
    kinds: Iterable[tuple[Any, pd.DataFrame]] = points.groupby(["label", "members_per_trial"])
    for index, ((label, members), alike) in enumerate(kinds):
        handles.append(style.legend_handle(index, f"{label}, {members} members a trial" if members > 1 else label))
        for ax, number in zip(row, NUMBERS, strict=True):
            look = {"color": style.PALETTE[index], "marker": style.MARKERS[index], "markersize": 4, "linewidth": 1.1}
            ax.loglog(alike["trials"], alike[number], clip_on=False, **look)
    for ax, (number, label) in zip(row, NUMBERS.items(), strict=True):
        is_share = number.endswith("share")
        if is_share:
            ax.axhline(1.0, color=style.GREY, linewidth=0.8, linestyle="--", zorder=1)
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if is_share else (1.0, 2.0, 5.0)))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
            axis.set_minor_formatter(NullFormatter())
        ax.set(xlabel="trials at once", ylabel=label)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def search_figure(results: dict[str, Any]) -> Figure:
    """The best held-out MIG by device seconds: a thin line a repetition, a thick one for their mean."""
    budget, courses = float(results["device_seconds"]), courses_of(results)
    first, *_ = courses.values()
    note = (
        f"The configuration of the best mean over its finished seeds; thin: {len(first.columns)} repetitions, thick: "
        f"their mean once all have a result. Device seconds: of all trials, on cores of {results['processor']}."
    )
    figure = style.figure_with_notes(2.3, [note])
    ax = figure.subplots()
    handles = []
    for index, (method, course) in enumerate(courses.items()):
        handles.append(style.legend_handle(index, method))
        shown = pd.concat([course, course.iloc[-1:].set_axis([max(budget, course.index[-1])])])
        look: dict[str, Any] = {"where": "post", "color": style.PALETTE[index]}
        ax.step(shown.index, shown, linewidth=0.6, alpha=0.5, **look)
        mean = shown.mean(axis=1, skipna=False)
        ax.step(mean.index, mean, linewidth=1.6, marker=style.MARKERS[index], markersize=4, markevery=0.25, **look)
    ax.set(xlim=(0, budget), xlabel="device time (seconds)", ylabel="best held-out MIG")
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def courses_of(results: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """The best so far of each way to search: a column a repetition, by device seconds; NaN before its first result."""
    return {
        method: pd.DataFrame({n: pd.Series(dict(points)) for n, points in enumerate(result["best_so_far"])}).ffill()
        for method, result in results.items()
        if isinstance(result, dict) and "best_so_far" in result
    }


if __name__ == "__main__":
    sys.exit(main())
