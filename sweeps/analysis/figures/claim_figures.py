"""The paper's claims in two figures: numbers with intervals and verdicts, and how these move with iterations."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from sweeps.analysis.claims.evidence import Bounds, Evidence, weakest
from sweeps.analysis.claims.verdicts import FAILS, HOLDS, UNDECIDED, Verdict, by_claim
from sweeps.analysis.comparisons import FEWEST_SEEDS
from sweeps.analysis.estimates import CONFIDENCE, budget_text, caution
from sweeps.analysis.style import GREY, MARKERS, PALETTE, STYLE, figure_with_notes, legend_handle, plain

_STYLE = STYLE | {"font.size": 6.5}
_COLOURS = {HOLDS: PALETTE[0], FAILS: PALETTE[1], UNDECIDED: GREY}
_ROW, _FRAME = 0.19, 0.52  # inches: of a case, and around the cases of a claim
_LINE = 0.085  # inches, of the legend
_TITLE_LENGTH = 58
"""Characters of a title that stand beside each other left of the legend."""
_PANELS_A_ROW, _PANEL_HEIGHT = 4, 1.15
_MOST_BANDS = 2


class _Move(NamedTuple):
    """A number of a case over iterations."""

    name: str  # of the claim
    metric: str
    place: str
    points: list[tuple[int, Evidence]]


def claims_figure(verdicts: Sequence[Verdict]) -> Figure:
    """A panel a claim, a row a case: its numbers, a marker for each kind, with intervals, and its verdict."""
    shown = [one for one in verdicts if one.has_number]
    claims = by_claim(shown)
    heights = list(map(_height, claims.values()))
    budgets = sorted({number for one in shown for number in one.iterations})
    note = (
        f"{budget_text(budgets)}; numbers with {100 * CONFIDENCE:g} % intervals, the better the farther right; "
        "broken lines: the claim's bounds; filled, or half so: decided, p Holm-corrected over all cases; rules: "
        "docs/claims.md"
    )
    with mpl.rc_context(_STYLE):
        figure = figure_with_notes(sum(heights) + 0.2, [note, *caution(budgets)])
        panels = figure.subplots(len(claims), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, cases in zip(panels, claims.values(), strict=True):
            _draw_claim(ax, cases)
        handles = [_verdict_handle(verdict) for verdict in _COLOURS]
        figure.legend(handles=handles, loc="outside upper right", ncols=3, handletextpad=0.2, columnspacing=1)
    return figure


def moves_figure(on_the_way: Mapping[int, Sequence[Verdict]]) -> Figure:
    """A panel a claim and metric: of each case, the number that speaks least for it at the end, over iterations."""
    moves = _all_moves(on_the_way)
    panels = {(name, metric): [m for m in moves if (m.name, m.metric) == (name, metric)] for name, metric, *_ in moves}
    cases = dict.fromkeys(move.place for move in moves)
    labels = ["\n".join(textwrap.wrap(plain(case), 46)) for case in cases]
    num_lines = sum(label.count("\n") + 1 for label in labels)
    num_rows = -(-len(panels) // _PANELS_A_ROW)
    note = (
        "a case's number that is weakest at its end, against iterations; broken lines: the claim's bounds; bands: "
        f"{100 * CONFIDENCE:g} % intervals of three seeds or more, where a panel has no more than {_MOST_BANDS} cases"
    )
    with mpl.rc_context(_STYLE):
        height = 0.3 + 0.13 * -(-num_lines // 2) + _PANEL_HEIGHT * num_rows
        figure = figure_with_notes(height, [note])
        handles = {
            case: legend_handle(place, label) for place, (case, label) in enumerate(zip(cases, labels, strict=True))
        }
        axes = list(figure.subplots(num_rows, _PANELS_A_ROW, squeeze=False).flat)
        for ax, ((name, metric), some) in zip(axes, panels.items(), strict=False):
            for move in some:
                _draw_move(ax, move, handles[move.place], has_band=len(some) <= _MOST_BANDS)
            ax.set_title(f"{name.replace('-', ' ')}: {metric}", fontsize=6.5)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        figure.legend(handles=list(handles.values()), loc="outside upper left", ncols=2, fontsize=6, handlelength=1.5)
    return figure


def has_moves(on_the_way: Mapping[int, Sequence[Verdict]]) -> bool:
    """Tell that a number is known at several iterations, so that there is something to draw."""
    return bool(_all_moves(on_the_way))


def _all_moves(on_the_way: Mapping[int, Sequence[Verdict]]) -> list[_Move]:
    """Of each case and metric, the number that speaks least for the claim at the end of the way, studies being of other
    lengths: those that are known at several iterations.
    """
    last = {(one.claim.name, one.place): one for some in on_the_way.values() for one in some if one.has_number}
    moves = []
    for (name, place), one in last.items():
        for metric in dict.fromkeys(map(_metric, one.evidence)):
            part = weakest(part for part in one.evidence if _metric(part) == metric)
            points = _points(on_the_way, one, part)
            if len(points) > 1 and math.isfinite(part.effect):
                moves.append(_Move(name, metric, place, points))
    return moves


def _metric(part: Evidence) -> str:
    return part.subject.partition(":")[0]


def _points(on_the_way: Mapping[int, Sequence[Verdict]], one: Verdict, part: Evidence) -> list[tuple[int, Evidence]]:
    """A number of a case at each iteration that it is known at."""
    return [
        (iterations, then)
        for iterations, verdicts in on_the_way.items()
        for other in verdicts
        if (other.claim.name, other.place) == (one.claim.name, one.place)
        for then in other.evidence
        if then.subject == part.subject and math.isfinite(then.effect)
    ]


def _height(cases: Sequence[Verdict]) -> float:
    """The inches of a claim's panel: of its cases or of its legend, whichever take more."""
    labels = dict.fromkeys(_subject_label(part.subject) for one in cases for part in one.evidence)
    legend = sum(_LINE * (label.count("\n") + 1.5) for label in labels)
    return max(_FRAME + _ROW * len(cases), legend + 0.1) + _LINE * _title(cases).count("\n")


def _title(cases: Sequence[Verdict]) -> str:
    return textwrap.fill(cases[0].claim.statement, _TITLE_LENGTH)


def _draw_claim(ax: Axes, cases: Sequence[Verdict]) -> None:
    parts = [part for one in cases for part in one.evidence]
    markers = {subject: _marker(index) for index, subject in enumerate(dict.fromkeys(part.subject for part in parts))}
    for row, one in enumerate(cases):
        for index, part in enumerate(one.evidence):
            if math.isfinite(part.effect):
                place = row + 0.6 * ((index + 0.5) / len(one.evidence) - 0.5)
                _draw_number(ax, part, place, markers[part.subject], one.verdict)
    _draw_bounds(ax, {part.bounds for part in parts}, vertical=True)
    ax.set_ylim(len(cases) - 0.4, -0.6)
    labels = ["\n".join(textwrap.wrap(one.place, 52)) for one in cases]
    # Two lines are less high than a row.
    look: dict[str, Any] = {"fontsize": 5.5, "linespacing": 0.9, "parse_math": False}
    ax.set_yticks(range(len(cases)), labels, **look)
    ax.set_title(_title(cases), fontsize=7, loc="left")
    if parts[0].is_ratio:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    handles = [_subject_handle(subject, marker) for subject, marker in markers.items()]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=5.5, handletextpad=0.2)


def _draw_number(ax: Axes, part: Evidence, place: float, marker: str, verdict: str) -> None:
    colour = _COLOURS[verdict]
    if math.isfinite(part.low):
        ax.plot([part.low, part.high], [place, place], color=colour, linewidth=0.9)
    ax.plot(part.effect, place, marker, **_look(verdict))


def _draw_bounds(ax: Axes, found: set[Bounds], *, vertical: bool) -> None:
    draw = ax.axvline if vertical else ax.axhline
    for value in {value for bounds in found for value in bounds}:
        draw(value, color=GREY, linewidth=0.7, linestyle="--", zorder=1)


def _draw_move(ax: Axes, move: _Move, look: Line2D, *, has_band: bool) -> None:
    iterations, parts = zip(*move.points, strict=True)
    colour, marker = look.get_color(), look.get_marker()
    ax.plot(iterations, [then.effect for then in parts], color=colour, marker=marker, markersize=2.2, linewidth=0.8)
    if has_band and parts[-1].num_seeds >= FEWEST_SEEDS:
        lows, highs = ([getattr(then, end) for then in parts] for end in ("low", "high"))
        ax.fill_between(iterations, lows, highs, color=colour, alpha=0.13, linewidth=0)
    _draw_bounds(ax, {parts[-1].bounds}, vertical=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))
    if parts[-1].is_ratio:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def _subject_handle(subject: str, marker: str) -> Line2D:
    label = _subject_label(subject)
    return Line2D(
        [], [], color=GREY, marker=marker, markerfacecolor="white", markersize=3, linestyle="none", label=label
    )


def _subject_label(subject: str) -> str:
    return textwrap.fill(subject, 30)


def _verdict_handle(verdict: str) -> Line2D:
    return Line2D([], [], marker="o", linewidth=0.9, label=verdict, **_look(verdict))


def _look(verdict: str) -> dict[str, Any]:
    """A marker's look, told apart without colours too."""
    half: dict[str, Any] = {"fillstyle": "left", "markerfacecoloralt": "white"} if verdict == FAILS else {}
    face = "white" if verdict == UNDECIDED else _COLOURS[verdict]
    return {"color": _COLOURS[verdict], "markerfacecolor": face, "markersize": 3.4, "markeredgewidth": 0.8, **half}
