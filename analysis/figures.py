"""Numbers to figures: axes in, axes out. Colours, markers and sizes are defined here and nowhere else."""

from __future__ import annotations

import io
import textwrap
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.estimates import CONFIDENCE, Estimate, Reference, Sensitivity

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart with any colour vision; lines also differ in their markers."""
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#595959"
STYLE = {
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
_NOTE_SIZE, _NOTE_LINE_HEIGHT, _NOTE_LINE_LENGTH = 6, 0.115, 118
_SHARE_OF_DATA = 0.4


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
    notes_height = _NOTE_LINE_HEIGHT * (len(notes) + 0.6)
    with mpl.rc_context(STYLE):
        height = _PANEL_HEIGHT + notes_height
        figure = Figure(figsize=(TEXT_WIDTH, height), layout="constrained")
        bottom = notes_height / height
        figure.get_layout_engine().set(rect=(0, bottom, 1, 1 - bottom), w_pad=0.06)  # type: ignore[union-attr, call-arg]
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
    dodge = 0.14 if sensitivity.num_seeds > 1 else 0.0
    for index, rate in enumerate(rates):
        shift = dodge * (index - (len(rates) - 1) / 2)
        curve = [e for e in sensitivity.estimates if e.metric == panel.metric and e.label_rate == rate]
        _draw_curve(ax, curve, np.array([positions[e.value] + shift for e in curve]), index)
    ax.set_xticks(list(positions.values()), [f"{value:g}" for value in positions])
    ax.set_xlim(-0.4, len(positions) - 0.6)
    ax.set_xlabel(sensitivity.parameter.symbol)
    ax.set_ylabel(panel.label)
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, panel.lowest), min(high, panel.highest))
    reference = sensitivity.reference(panel.metric)
    if reference:
        _draw_reference(ax, reference)
    return ax


def figure_notes(sensitivity: Sensitivity, most_named: int = 4) -> list[str]:
    """Lines under the panels: what the points are, and which members are missing (a few by name)."""
    budget = " to ".join(
        f"{number:,}" for number in sorted({*sensitivity.iterations[:1], *sensitivity.iterations[-1:]})
    )
    if sensitivity.num_seeds > 1:
        points = f"mean and {CONFIDENCE:.0%} t-interval over {sensitivity.num_seeds} seeds, small dots single seeds"
    else:
        points = "one seed"
    hollow = ", hollow where seeds are missing" if sensitivity.missing else ""
    notes = [f"{sensitivity.study}: {sensitivity.dataset}, {budget} iterations; {points}{hollow}"]
    if sensitivity.missing:
        named = [textwrap.shorten(sensitivity.describe(m), 80, placeholder=" …)") for m in sensitivity.missing]
        more = f", and {len(named) - most_named} more; see CSV" if len(named) > most_named else ""
        count = f"{len(named)} of {sensitivity.num_members} members missing"
        notes.append(f"{count}: {', '.join(named[:most_named])}{more}")
    return [line for note in notes for line in textwrap.wrap(note, _NOTE_LINE_LENGTH)]


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file's content, `png` or `pdf`; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format=kind, metadata={"CreationDate": None} if kind == "pdf" else None)
    return buffer.getvalue()


def _draw_curve(ax: Axes, curve: list[Estimate], positions: np.ndarray, index: int) -> None:
    """Line and intervals, seeds as faint dots, then markers: filled where all seeds are there, hollow where not."""
    colour = PALETTE[index % len(PALETTE)]
    means = np.array([estimate.interval.mean for estimate in curve])
    if any(estimate.num_seeds > 1 for estimate in curve):
        half_widths = np.array([estimate.interval.high - estimate.interval.mean for estimate in curve])
        ax.errorbar(positions, means, half_widths, color=colour, linewidth=1.1, elinewidth=0.9, capsize=2)
        dots = [(x, result) for x, e in zip(positions, curve, strict=True) for result in e.seed_results]
        ax.scatter(*zip(*dots, strict=True), s=6, color=colour, alpha=0.35, linewidths=0, zorder=2.5)
    else:
        ax.plot(positions, means, color=colour, linewidth=0.7)
    complete = np.array([estimate.is_complete for estimate in curve])
    for chosen, face in ((complete, colour), (~complete, "white")):
        ax.plot(positions[chosen], means[chosen], **_marker(index, face), linestyle="none", zorder=3)


def _draw_reference(ax: Axes, reference: Reference) -> None:
    """A dashed line, unless it would squeeze the data: then a note at the edge it lies beyond."""
    label = f"{reference.label} {f'{reference.value:.3f}'.lstrip('0')}"
    low, high = ax.get_ylim()
    wide_low, wide_high = min(low, reference.value), max(high, reference.value)
    if high - low >= _SHARE_OF_DATA * (wide_high - wide_low):
        margin = 0.06 * (wide_high - wide_low)
        ax.set_ylim(min(low, reference.value - margin), max(high, reference.value + margin))
        ax.axhline(reference.value, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
        place = {"xy": (1, reference.value), "xycoords": ("axes fraction", "data"), "va": "bottom"}
        ax.annotate(label, **place, ha="right", fontsize=7, color=GREY)  # type: ignore[arg-type]
    else:
        arrow, place = ("↑", {"y": 1.0}) if reference.value > high else ("↓", {"y": 0.0})
        ax.text(1, place["y"], f"{arrow} {label}", transform=ax.transAxes, ha="right", fontsize=7, color=GREY)


def _legend_handle(index: int, label_rate: float) -> Line2D:
    colour = PALETTE[index % len(PALETTE)]
    return Line2D([], [], color=colour, linewidth=1.1, label=f"η = {100 * label_rate:g} %", **_marker(index, colour))


def _marker(index: int, face: str) -> dict[str, object]:
    colour = PALETTE[index % len(PALETTE)]
    return {
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4,
        "color": colour,
        "markerfacecolor": face,
        "markeredgewidth": 0.9,
    }
