"""The look of figures: the palette, and the dots, lines, axes, legends and notes that several of them share."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from larvae.metrics import SCORES
from sweeps.analysis.estimates import CONFIDENCE, DRAWN_METRICS, Estimate, MissingMember
from sweeps.analysis.references import Reference
from sweeps.tracking.mlflow_names import FAILED

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart with any colour vision; lines also differ in their markers."""
_SEEDS_WITH_ROOM = 3
"""Seeds of an interval that an axis makes room for, where there are points of so many."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")
GREY = "#595959"
PALE = "#A6A6A6"
"""Colour of what was stopped."""
SCALE = ListedColormap(mpl.colormaps["viridis_r"](np.linspace(0.08, 1, 256)), "better_is_darker")
"""Colours of values and of the order of suggestions: the better or the later, the darker."""
SEED_DOTS: dict[str, Any] = {"s": 7, "alpha": 0.45, "linewidths": 0, "zorder": 2.5}
"""Seeds of a search, in the colour of their configuration."""
STOPPED_DOTS: dict[str, Any] = {"s": 11, "facecolors": "none", "edgecolors": PALE, "linewidths": 0.7, "zorder": 2}
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}
NUMBERS = "Numbers"
"""Entry of a picture's metadata that has a digest of the numbers that it shows."""
TEXT_WIDTH = 5.5
"""Inches: the text width of the paper's one-column layout."""
SMALLEST_RANGE = 0.02
"""Smallest range of an axis, or of colours, in the metric's units: smaller differences would look like effects."""

_L2 = r"$\ell_2$"
_NOTE_SIZE, _NOTE_LINE_HEIGHT, _NOTE_LINE_LENGTH = 6, 0.105, 116  # points, inches, characters
_MOST_NAMED = 4
"""Missing members that a note names."""


class Panel(NamedTuple):
    """One metric's axes: label and the largest value it can take; the smallest is 0."""

    metric: str
    label: str
    highest: float


PANELS = {
    name: Panel(name, f"{label.replace('ℓ2', _L2)} ({'higher' if is_upwards else 'lower'} is better)", highest)
    for name, label, is_upwards, highest in SCORES.values()
}


def plain(text: str) -> str:
    """A text that a user may have written, for legends: `$` begins no formula."""
    return text.replace("$", r"\$")


def figure_with_notes(panels_height: float, notes: Sequence[str]) -> Figure:
    """An empty figure for panels (their height in inches, legend included) with notes in small print below."""
    lines = [line for note in notes for line in textwrap.wrap(note, _NOTE_LINE_LENGTH)]
    notes_height = _NOTE_LINE_HEIGHT * (len(lines) + 0.5)
    height = panels_height + notes_height
    bottom = notes_height / height
    layout = ConstrainedLayoutEngine(rect=(0, bottom, 1, 1 - bottom), w_pad=0.06)
    figure = Figure(figsize=(TEXT_WIDTH, height), layout=layout)
    figure.text(
        0.012,
        bottom - 0.2 * _NOTE_LINE_HEIGHT / height,
        "\n".join(lines),
        va="top",
        fontsize=_NOTE_SIZE,
        color=GREY,
        parse_math=False,
    )
    return figure


def points_note(heading: str, estimates: Sequence[Estimate], metrics: Sequence[str] = DRAWN_METRICS) -> str:
    """The note on points: what curves are of and points are, which are hollow, and which intervals are cut."""
    hollow = "; hollow: seeds missing" if any(0 < e.num_seeds < e.num_planned for e in estimates) else ""
    drawn = [e for e in estimates if e.metric in metrics]
    ends = {"0": any(e.interval.low < 0 for e in drawn)}
    ends |= {"1": any(e.interval.high > PANELS[e.metric].highest for e in drawn)}
    cut = " and ".join(end for end, is_cut in ends.items() if is_cut)
    points = means_note([e.num_seeds for e in estimates])
    return f"{heading}; {points}{hollow}{cut and f'; intervals are cut at {cut}'}"


def means_note(nums_seeds: Iterable[int]) -> str:
    """The note on points that are means of so many seeds each; where there are none, there is no point."""
    numbers = [number for number in nums_seeds if number]
    fewest, most = min(numbers, default=1), max(numbers, default=1)
    if most == 1:
        return "one seed"
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    beyond = "; an interval of two seeds may leave the axis" if 2 in numbers and most >= _SEEDS_WITH_ROOM else ""
    return f"mean, {100 * CONFIDENCE:g} % t-interval and single values of {seeds} seeds{beyond}"


def missing_note(missing: Sequence[MissingMember], num_members: int) -> list[str]:
    """The note on missing members, a few by name, failures first; nothing where none is missing."""
    if not missing:
        return []
    ordered = sorted(missing, key=lambda member: member.status != FAILED)
    named = [textwrap.shorten(member.description, 80, placeholder=" …)") for member in ordered[:_MOST_NAMED]]
    more = f", and {len(ordered) - _MOST_NAMED} more; see CSV" if len(ordered) > _MOST_NAMED else ""
    return [f"{len(ordered)} of {num_members} members missing: {', '.join(named)}{more}"]


def draw_curve(
    ax: Axes,
    curve: Sequence[Estimate],
    positions: NDArray[np.float64],
    index: int,
    dots: float,
    joined: bool = True,
    most_seeds: int = 0,
) -> None:
    """Draw a line and intervals, seeds as faint dots beside them, markers: hollow where seeds are missing.

    positions: where on the x axis the estimates lie, (len(curve),). dots: how far to the right the seeds lie.
    joined: False leaves out the line. most_seeds: of all points in the axes. Beside intervals of three seeds or
    more the axis makes no room for those of two: thirteen standard errors to either side, they would leave all flat.
    """
    colour = PALETTE[index % len(PALETTE)]
    means = np.array([estimate.interval.mean for estimate in curve])
    if any(estimate.num_seeds > 1 for estimate in curve):
        half_widths = np.array([estimate.interval.high - estimate.interval.mean for estimate in curve])
        width = 1.1 if joined else 0
        bars: dict[str, Any] = {"color": colour, "elinewidth": 0.9, "capsize": 2}
        is_rough = np.array([e.num_seeds < _SEEDS_WITH_ROOM <= most_seeds for e in curve], bool)
        ax.errorbar(positions, means, np.where(is_rough, np.nan, half_widths), linewidth=width, **bars)
        limits = ax.dataLim.frozen()
        if is_rough.any():
            rough = (values[is_rough] for values in (positions, means, half_widths))
            ax.errorbar(*rough, linestyle="none", **bars)
        ax.dataLim.set(limits)
        seeds = np.array(
            [(x + dots, result) for x, e in zip(positions, curve, strict=True) for result in e.seed_results]
        )
        ax.scatter(seeds[:, 0], seeds[:, 1], s=6, color=colour, alpha=0.35, linewidths=0, zorder=2.5, clip_on=False)
    elif joined:
        ax.plot(positions, means, color=colour, linewidth=0.7)
    complete = np.array([estimate.is_complete for estimate in curve], bool)
    for chosen, face in ((complete, colour), (~complete, "white")):
        chosen = chosen & np.isfinite(means)
        if chosen.any():  # nothing, unclipped, would lie at the figure's corner, and the layout would make room for it
            style = _marker(index, face) | {"linestyle": "none", "zorder": 3, "clip_on": False}
            ax.plot(positions[chosen], means[chosen], **style)


def limit_axis(ax: Axes, panel: Panel) -> None:
    """Keep the y axis high enough for small differences to look small, and within what the metric can be."""
    low, high = ax.get_ylim()
    growth = max(0.0, SMALLEST_RANGE - (high - low)) / 2
    ax.set_ylim(max(low - growth, 0.0), min(high + growth, panel.highest))


def draw_reference(row: Sequence[Axes], reference: Reference, data_height: float, smallest_share: float = 0.4) -> None:
    """A dashed line, unless the axis would have to grow so far that the data are flat: then a note at its edge.

    row: axes that share their y axis; the last is labelled. data_height: of all its data, in the metric's units.
    smallest_share: of the axis' height, what the data must keep for a line beyond them.
    """
    style: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 7, "color": GREY}
    lifted: dict[str, Any] = {"xytext": (0, 1), "textcoords": "offset points"}
    labelled = row[-1]
    low, high = labelled.get_ylim()
    height = max(high, reference.value) - min(low, reference.value)
    if height == high - low or data_height >= smallest_share * height:
        labelled.set_ylim(min(low, reference.value - 0.08 * height), max(high, reference.value + 0.08 * height))
        for ax in row:
            ax.axhline(reference.value, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        labelled.annotate(
            reference.text, (1, reference.value), xycoords=labelled.get_yaxis_transform(), **lifted, **style
        )
    else:
        arrow, edge = ("↑", 1.0) if reference.value > high else ("↓", 0.0)
        labelled.annotate(f"{arrow} {reference.text}", (1, edge), xycoords="axes fraction", **lifted, **style)


def legend_handle(index: int, label: str) -> Line2D:
    """A curve's line and marker for a legend."""
    return Line2D([], [], linewidth=1.1, label=label, **_marker(index, PALETTE[index % len(PALETTE)]))


def dot_handle(label: str, colour: Any, small: bool = False) -> Line2D:
    """A dot for a legend: of a mean, or small, of seeds."""
    size, alpha = (2.6, 0.5) if small else (4, 1)
    return Line2D([], [], color=colour, marker="o", markersize=size, alpha=alpha, linestyle="none", label=label)


def stopped_handle(label: str) -> Line2D:
    """The legend's handle for what was stopped."""
    style: dict[str, Any] = {"marker": "o", "markersize": 3.3, "markerfacecolor": "none", "markeredgewidth": 0.7}
    return Line2D([], [], color=PALE, linestyle="none", label=label, **style)


def figure_bytes(figure: Figure, kind: str, numbers: str = "") -> bytes:
    """The figure as a file's content, `png` or `pdf`; a figure that is built anew gives the same bytes.

    numbers: a digest of what it shows, for the file's metadata.
    """
    buffer = io.BytesIO()
    metadata = {"Keywords": f"{NUMBERS} {numbers}", "CreationDate": None} if kind == "pdf" else {NUMBERS: numbers}
    with mpl.rc_context(STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _marker(index: int, face: str) -> dict[str, Any]:
    colour = PALETTE[index % len(PALETTE)]
    return {
        "marker": MARKERS[(index + index // len(PALETTE)) % len(MARKERS)],  # no two of one colour have one marker
        "markersize": 4,
        "color": colour,
        "markerfacecolor": face,
        "markeredgewidth": 0.9,
    }
