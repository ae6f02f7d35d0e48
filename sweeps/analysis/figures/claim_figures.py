"""The paper's claims in two figures: numbers with intervals and verdicts, and how these move with iterations."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from sweeps.analysis.claims.evidence import Bounds, Evidence
from sweeps.analysis.claims.verdicts import FAILS, HOLDS, UNDECIDED, Verdict, by_claim
from sweeps.analysis.estimates import CONFIDENCE, budget_text, caution
from sweeps.analysis.style import GREY, MARKERS, PALETTE, STYLE, figure_with_notes, legend_handle, plain

_STYLE = STYLE | {"font.size": 6.5}
_COLOURS = {HOLDS: PALETTE[0], FAILS: PALETTE[1], UNDECIDED: GREY}
_ROW, _FRAME = 0.19, 0.52  # inches: of a case, and around the cases of a claim
_PANELS_A_ROW, _PANEL_HEIGHT = 3, 1.3


def claims_figure(verdicts: Sequence[Verdict]) -> Figure:
    """A panel a claim, a row a case: its numbers, a marker for each kind, with intervals, and its verdict."""
    shown = [one for one in verdicts if one.has_number]
    claims = by_claim(shown)
    heights = [_FRAME + _ROW * len(cases) for cases in claims.values()]
    budgets = sorted({number for one in shown for number in one.iterations})
    note = (
        f"{budget_text(budgets)}; numbers with {100 * CONFIDENCE:g} % intervals, the better the farther right; "
        "broken lines: the claim's bounds; filled: decided, p Holm-corrected over all cases; rules: docs/claims.md"
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
    """A panel a claim: of each case, the number that speaks least for it at the end, over iterations."""
    ends, moves = _ends(on_the_way), _all_moves(on_the_way)
    claims = [
        name for name in by_claim(one for one, _ in ends) if any(len(m) > 1 for (n, _), m in moves.items() if n == name)
    ]
    cases = {case: "\n".join(textwrap.wrap(plain(case), 46)) for name, case in moves if name in claims}
    num_lines = sum(label.count("\n") + 1 for label in cases.values())
    num_rows = -(-len(claims) // _PANELS_A_ROW)
    note = (
        f"a case's number that is weakest at its end, against iterations; {100 * CONFIDENCE:g} % intervals over seeds"
    )
    with mpl.rc_context(_STYLE):
        height = 0.3 + 0.13 * -(-num_lines // 2) + _PANEL_HEIGHT * num_rows
        figure = figure_with_notes(height, [f"{note}; broken lines: the claim's bounds"])
        handles = {case: legend_handle(place, label) for place, (case, label) in enumerate(cases.items())}
        panels = list(figure.subplots(num_rows, _PANELS_A_ROW, squeeze=False).flat)
        for ax, name in zip(panels, claims, strict=False):
            for one, part in ends:
                if one.claim.name == name:
                    _draw_move(ax, moves[name, one.place], part, handles[one.place])
            ax.set_title(name.replace("-", " "), fontsize=7)
        for ax in panels[len(claims) :]:
            ax.set_axis_off()
        figure.legend(handles=list(handles.values()), loc="outside upper left", ncols=2, fontsize=6, handlelength=1.5)
    return figure


def has_moves(on_the_way: Mapping[int, Sequence[Verdict]]) -> bool:
    """Tell that a number is known at several iterations, so that there is something to draw."""
    return any(len(points) > 1 for points in _all_moves(on_the_way).values())


def _ends(on_the_way: Mapping[int, Sequence[Verdict]]) -> list[tuple[Verdict, Evidence]]:
    """Cases at the last iteration of each, studies being of other lengths, with the number that speaks least for it."""
    last = {(one.claim.name, one.place): one for some in on_the_way.values() for one in some if one.has_number}
    return [(one, one.weakest) for one in last.values() if one.weakest and math.isfinite(one.weakest.effect)]


def _all_moves(on_the_way: Mapping[int, Sequence[Verdict]]) -> dict[tuple[str, str], list[tuple[int, Evidence]]]:
    """These numbers over iterations, by claim and case."""
    return {(one.claim.name, one.place): _moves(on_the_way, one, part) for one, part in _ends(on_the_way)}


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
    ax.set_title(cases[0].claim.statement, fontsize=7, loc="left")
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
    face = "white" if verdict == UNDECIDED else colour
    ax.plot(part.effect, place, marker, color=colour, markerfacecolor=face, markersize=3, markeredgewidth=0.8)


def _draw_bounds(ax: Axes, found: set[Bounds], *, vertical: bool) -> None:
    draw = ax.axvline if vertical else ax.axhline
    for value in {value for bounds in found for value in bounds}:
        draw(value, color=GREY, linewidth=0.7, linestyle="--", zorder=1)


def _moves(on_the_way: Mapping[int, Sequence[Verdict]], one: Verdict, part: Evidence) -> list[tuple[int, Evidence]]:
    """A number of a case at each iteration that it is known at."""
    return [
        (iterations, then)
        for iterations, verdicts in on_the_way.items()
        for other in verdicts
        if (other.claim.name, other.place) == (one.claim.name, one.place)
        for then in other.evidence
        if then.subject == part.subject and math.isfinite(then.effect)
    ]


def _draw_move(ax: Axes, moves: Sequence[tuple[int, Evidence]], part: Evidence, look: Line2D) -> None:
    iterations, parts = zip(*moves, strict=True)
    colour, marker = look.get_color(), look.get_marker()
    ax.plot(iterations, [then.effect for then in parts], color=colour, marker=marker, markersize=2.5, linewidth=0.9)
    lows, highs = ([getattr(then, end) for then in parts] for end in ("low", "high"))
    ax.fill_between(iterations, lows, highs, color=colour, alpha=0.13, linewidth=0)
    _draw_bounds(ax, {part.bounds}, vertical=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))
    if part.is_ratio:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def _subject_handle(subject: str, marker: str) -> Line2D:
    label = "\n".join(textwrap.wrap(subject, 30))
    return Line2D(
        [], [], color=GREY, marker=marker, markerfacecolor="white", markersize=3, linestyle="none", label=label
    )


def _verdict_handle(verdict: str) -> Line2D:
    colour = _COLOURS[verdict]
    face = "white" if verdict == UNDECIDED else colour
    return Line2D([], [], color=colour, marker="o", markerfacecolor=face, markersize=3, linewidth=0.9, label=verdict)
