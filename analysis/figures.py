"""Numbers to figures: axes in, axes out. Colours, markers and sizes are defined here and nowhere else."""

from __future__ import annotations

import io
import textwrap
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.estimates import CONFIDENCE, Estimate, Reference, Sensitivity

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart with any colour vision; lines also differ in their markers."""
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#595959"
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}
TEXT_WIDTH = 5.5
"""Inches: the text width of the paper's one-column layout."""

_PANEL_HEIGHT = 2.15
_NOTE_SIZE, _NOTE_LINE_HEIGHT, _NOTE_LINE_LENGTH = 6, 0.105, 116  # points, inches, characters
_SMALLEST_HEIGHT = 0.02
"""Of an axis, in the metric's units: smaller differences would look like effects."""
_SMALLEST_SHARE = 0.4
"""Of the axis' height: what the data must keep for a reference beyond them to be drawn as a line."""


class Panel(NamedTuple):
    """One metric's axes: label and the values the metric can take."""

    metric: str
    label: str
    lowest: float
    highest: float


PANELS = (
    Panel("mig", "MIG (higher is better)", 0.0, 1.0),
    Panel("l2", r"$\ell_2$ (lower is better)", 0.0, float("inf")),
)


def sensitivity_figure(sensitivity: Sensitivity) -> Figure:
    """Fig. 3 of the paper: MIG left, ℓ2 right, the parameter's values equally spaced, a line a label rate."""
    notes = figure_notes(sensitivity)
    notes_height = _NOTE_LINE_HEIGHT * (len(notes) + 0.5)
    with mpl.rc_context(STYLE):
        height = _PANEL_HEIGHT + notes_height
        bottom = notes_height / height
        layout = ConstrainedLayoutEngine(rect=(0, bottom, 1, 1 - bottom), w_pad=0.06)
        figure = Figure(figsize=(TEXT_WIDTH, height), layout=layout)
        axes = figure.subplots(1, len(PANELS))
        for ax, panel in zip(axes, PANELS, strict=True):
            draw_sensitivity(ax, sensitivity, panel)
        handles = [_legend_handle(index, rate) for index, rate in enumerate(sensitivity.label_rates)]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        figure.text(
            0.012,
            bottom - 0.2 * _NOTE_LINE_HEIGHT / height,
            "\n".join(notes),
            va="top",
            fontsize=_NOTE_SIZE,
            color=GREY,
            parse_math=False,
        )
    return figure


def draw_sensitivity(ax: Axes, sensitivity: Sensitivity, panel: Panel) -> Axes:
    """Draw one metric against the parameter: lines, intervals, the seeds' dots and the reference."""
    positions = {value: float(position) for position, value in enumerate(sensitivity.values)}
    rates = sensitivity.label_rates
    dodge = min(0.2, 0.6 / len(rates)) if sensitivity.num_seeds > 1 else 0.0
    for index, rate in enumerate(rates):
        shift = dodge * (index - (len(rates) - 1) / 2)
        curve = [e for e in sensitivity.estimates if e.metric == panel.metric and e.label_rate == rate]
        _draw_curve(ax, curve, np.array([positions[e.value] + shift for e in curve]), index, 0.4 * dodge)
    ax.set_xticks(list(positions.values()), [f"{value:g}" for value in positions])
    ax.set_xlim(-0.4, len(positions) - 0.6)
    ax.set_xlabel(sensitivity.parameter.symbol)
    ax.set_ylabel(panel.label)
    low, high = ax.get_ylim()
    growth = max(0.0, _SMALLEST_HEIGHT - (high - low)) / 2
    ax.set_ylim(max(low - growth, panel.lowest), min(high + growth, panel.highest))
    reference = sensitivity.reference(panel.metric)
    if reference:
        results = [e.seed_results for e in sensitivity.estimates if e.metric == panel.metric]
        _draw_reference(ax, reference, np.ptp(np.concatenate(results)))
    return ax


def figure_notes(sensitivity: Sensitivity, most_named: int = 4) -> list[str]:
    """Lines under the panels: what the points are, and which members are missing (a few by name, failures first)."""
    points = "one seed"
    if sensitivity.num_seeds > 1:
        points = f"mean, {100 * CONFIDENCE:g} % t-interval and single values of {sensitivity.num_seeds} seeds"
    hollow = "; hollow: seeds missing" if any(0 < e.num_seeds < e.num_planned for e in sensitivity.estimates) else ""
    notes = [f"{sensitivity.heading}; {points}{hollow}"]
    if sensitivity.missing:
        ordered = sorted(sensitivity.missing, key=lambda member: member.status != "FAILED")
        named = [textwrap.shorten(sensitivity.describe(m), 80, placeholder=" …)") for m in ordered[:most_named]]
        more = f", and {len(ordered) - most_named} more; see CSV" if len(ordered) > most_named else ""
        notes.append(f"{len(ordered)} of {sensitivity.num_members} members missing: {', '.join(named)}{more}")
    return [line for note in notes for line in textwrap.wrap(note, _NOTE_LINE_LENGTH)]


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file's content, `png` or `pdf`; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format=kind, metadata={"CreationDate": None} if kind == "pdf" else None)
    return buffer.getvalue()


def _draw_curve(ax: Axes, curve: list[Estimate], positions: NDArray[np.float64], index: int, dots_shift: float) -> None:
    """Line and intervals, seeds as faint dots beside them, markers: hollow where seeds are missing.

    positions: where on the x axis the estimates lie, (len(curve),).
    """
    colour = PALETTE[index % len(PALETTE)]
    means = np.array([estimate.interval.mean for estimate in curve])
    if any(estimate.num_seeds > 1 for estimate in curve):
        half_widths = np.array([estimate.interval.high - estimate.interval.mean for estimate in curve])
        ax.errorbar(positions, means, half_widths, color=colour, linewidth=1.1, elinewidth=0.9, capsize=2)
        dots = np.array(
            [(x + dots_shift, result) for x, e in zip(positions, curve, strict=True) for result in e.seed_results]
        )
        ax.scatter(dots[:, 0], dots[:, 1], s=6, color=colour, alpha=0.35, linewidths=0, zorder=2.5)
    else:
        ax.plot(positions, means, color=colour, linewidth=0.7)
    complete = np.array([estimate.is_complete for estimate in curve])
    for chosen, face in ((complete, colour), (~complete, "white")):
        ax.plot(positions[chosen], means[chosen], **_marker(index, face), linestyle="none", zorder=3)


def _draw_reference(ax: Axes, reference: Reference, data_height: float) -> None:
    """A dashed line, unless the axis would have to grow so far that the data are flat: then a note at its edge."""
    label = f"{reference.label} {f'{reference.value:.3f}'.lstrip('0')}"
    style: dict[str, Any] = {"ha": "right", "fontsize": 7, "color": GREY}
    low, high = ax.get_ylim()
    height = max(high, reference.value) - min(low, reference.value)
    if height == high - low or data_height >= _SMALLEST_SHARE * height:
        ax.set_ylim(min(low, reference.value - 0.08 * height), max(high, reference.value + 0.08 * height))
        ax.axhline(reference.value, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        ax.text(1, reference.value, label, transform=ax.get_yaxis_transform(), va="bottom", **style)
    else:
        arrow, edge = ("↑", 1.0) if reference.value > high else ("↓", 0.0)
        ax.text(1, edge, f"{arrow} {label}", transform=ax.transAxes, va="bottom", **style)


def _legend_handle(index: int, label_rate: float) -> Line2D:
    colour = PALETTE[index % len(PALETTE)]
    return Line2D([], [], linewidth=1.1, label=f"η = {100 * label_rate:g} %", **_marker(index, colour))


def _marker(index: int, face: str) -> dict[str, Any]:
    colour = PALETTE[index % len(PALETTE)]
    return {
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4,
        "color": colour,
        "markerfacecolor": face,
        "markeredgewidth": 0.9,
    }
