"""A search as a whole: history, importances, parallel coordinates and Pareto front; numbers to figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from larvae.metrics import held_out
from sweeps.analysis.estimates import CONFIDENCE
from sweeps.analysis.names import written
from sweeps.analysis.search.axes import Axis, axes_of
from sweeps.analysis.search.history import History
from sweeps.analysis.search.importances import BEST, FANOVA, PED_ANOVA, Importance
from sweeps.analysis.search.ranking import ConfigurationResult, SearchResult, best_in, pareto_front
from sweeps.analysis.style import (
    GREY,
    PALE,
    PALETTE,
    PANELS,
    SCALE,
    SEED_DOTS,
    STOPPED_DOTS,
    STYLE,
    dot_handle,
    figure_with_notes,
    limit_axis,
    stopped_handle,
)

_HEIGHT, _PARALLEL_HEIGHT = 2.4, 2.3  # inches, of panels
_FAR = 3.0


def metric_label(objective: str) -> str:
    """The label of an objective, such as `held-out MIG (higher is better)`."""
    return f"held-out {PANELS[objective].label}"


def short_label(objective: str) -> str:
    """The short label of an objective, such as `held-out MIG`."""
    return written(held_out(objective))


def history_figure(search: SearchResult, histories: Sequence[History]) -> Figure:
    """A panel an objective: dots where seeds finished or configurations were stopped, a line for the best so far."""
    notes = [
        f"{search.heading}. Budget: iterations of all members, in the order of time.",
        "Line: the configuration of the best mean over its seeds known by then, with its number; it can fall when a "
        "further seed lowers that mean, or another configuration is best then.",
    ]
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(_HEIGHT, notes)
        row = figure.subplots(1, len(histories), squeeze=False)[0]
        for ax, shown, sign in zip(row, histories, search.signs, strict=True):
            draw_history(ax, shown, sign)
        handles = [
            Line2D([], [], color=PALETTE[0], linewidth=1.3, label="best mean so far"),
            dot_handle("a seed's end", PALETTE[0], small=True),
            stopped_handle("stopped: value at its rung"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def draw_history(ax: Axes, shown: History, sign: int) -> Axes:
    """One objective against the iterations trained by all members together; sign: 1 where higher is better, else −1."""
    stopped = np.array([(end.budget, end.value) for end in shown.ends if end.status == "stopped"]).reshape(-1, 2)
    seeds = np.array([(end.budget, end.value) for end in shown.ends if end.status == "finished"]).reshape(-1, 2)
    ax.scatter(stopped[:, 0], stopped[:, 1], **STOPPED_DOTS)
    ax.scatter(seeds[:, 0], seeds[:, 1], color=PALETTE[0], **SEED_DOTS)
    if shown.best:
        budgets = [best.budget for best in shown.best]
        values = [best.value for best in shown.best]
        ax.step(
            [*budgets, shown.budget], [*values, values[-1]], where="post", color=PALETTE[0], linewidth=1.3, zorder=3
        )
        _name_bests(ax, shown, sign)
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_xlim(0, shown.budget * 1.03)
    ax.margins(y=0.09)
    limit_axis(ax, PANELS[shown.objective])
    ax.set_xlabel("budget (trained iterations)")
    ax.set_ylabel(metric_label(shown.objective))
    return ax


def _name_bests(ax: Axes, shown: History, sign: int) -> None:
    """Numbers of the configurations on the line, where they change and there is room."""
    named, last_place = -1, -np.inf
    for best in shown.best:
        if best.configuration != named and best.budget - last_place > 0.09 * shown.budget:
            offset: dict[str, Any] = {"xytext": (1, 3 * sign), "textcoords": "offset points"}
            style: dict[str, Any] = {"fontsize": 6, "color": PALETTE[0], "va": "bottom" if sign > 0 else "top"}
            ax.annotate(f"#{best.configuration}", (best.budget, best.value), **offset, **style)
            named, last_place = best.configuration, best.budget


def importance_figure(search: SearchResult, importances: Sequence[Importance]) -> Figure:
    """A panel an objective: a pair of bars a parameter, with their intervals."""
    notes = [
        f"{search.study}: of {len(search.finished)} finished configurations, means over seeds; stopped ones are left "
        f"out. {FANOVA}: variance over the searched space that a parameter explains alone. {PED_ANOVA}: how much its "
        f"values differ between the best ({BEST}) and all. Each sums to 100 %. Lines: {100 * CONFIDENCE:g} % "
        "t-intervals over configurations (delete-a-group jackknife).",
    ]
    objectives = [name for name in search.objectives if any(i.objective == name for i in importances)]
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(0.75 + 0.42 * len(search.space.parameters), notes)
        row = figure.subplots(1, len(objectives), squeeze=False, sharey=True)[0]
        for ax, objective in zip(row, objectives, strict=True):
            draw_importance(ax, axes_of(search.space), importances, objective)
        handles = [Patch(color=PALETTE[place], label=method) for place, method in enumerate((FANOVA, PED_ANOVA))]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def draw_importance(ax: Axes, axes: Sequence[Axis], importances: Sequence[Importance], objective: str) -> Axes:
    """Bars of one objective, parameters in the order of the space."""
    chosen = [i for i in importances if i.objective == objective]
    places = {axis.name: -float(place) for place, axis in enumerate(axes)}
    for index, method in enumerate((FANOVA, PED_ANOVA)):
        for one in (i for i in chosen if i.method == method):
            height = places[one.parameter] + 0.18 - 0.36 * index
            ax.barh(height, one.share, 0.32, color=PALETTE[index])
            ax.plot([one.low, one.high], [height, height], color="black", linewidth=0.9, solid_capstyle="butt")
    ax.set_yticks(list(places.values()), [axis.label for axis in axes])
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel(f"importance for {short_label(objective)}")
    return ax


def parallel_figure(search: SearchResult, objective: int) -> Figure:
    """A line a configuration through its parameters to one objective, by its place."""
    notes = [
        f"{search.heading}. A line a configuration. Finished ones end at their mean over seeds, the better the darker, "
        f"the best, #{best_in(search, objective).number}, in bold; grey ones were stopped and have no end."
    ]
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(_PARALLEL_HEIGHT + 0.3, notes)
        draw_parallel(figure.subplots(), search, objective)
    return figure


def draw_parallel(ax: Axes, search: SearchResult, objective: int) -> Axes:
    """Parameters as vertical axes, the objective as the last one; the better a configuration ranks, the darker."""
    axes = axes_of(search.space)
    values = [c.values[objective] for c in search.finished]
    low, height = min(values), (max(values) - min(values)) or 1.0
    for configuration in search.having("stopped"):
        heights = [axis.position(configuration.fields[axis.name]) for axis in axes]
        ax.plot(heights, color=PALE, linewidth=0.5, alpha=0.6)
    worst_first = sorted(search.finished, key=lambda c: search.signs[objective] * c.values[objective])
    for rank, configuration in enumerate(worst_first, start=1):
        heights = [axis.position(configuration.fields[axis.name]) for axis in axes]
        is_best = configuration is best_in(search, objective)
        height_of_value = (configuration.values[objective] - low) / height
        ax.plot([*heights, height_of_value], color=SCALE(rank / len(worst_first)), linewidth=2 if is_best else 0.9)
    for place, axis in enumerate(axes):
        _draw_upright(ax, place, axis.ticks(_PARALLEL_HEIGHT, upright=True), axis.label)
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, low + height)
    written = {(tick - low) / height: f"{tick:.6g}" for tick in ticks if low <= tick <= low + height}
    _draw_upright(ax, len(axes), written, short_label(search.objectives[objective]), is_last=True)
    ax.set_xlim(-0.25, len(axes) + 0.4)
    ax.set_ylim(-0.04, 1.06)
    ax.set_axis_off()
    return ax


def _draw_upright(ax: Axes, place: int, ticks: dict[float, str], title: str, is_last: bool = False) -> None:
    """A vertical axis with its title above, its ticks' values to its left, or right of the last one."""
    ax.plot([place, place], [0, 1], color="black", linewidth=0.7, zorder=3)
    side = 1 if is_last else -1
    style: dict[str, Any] = {"ha": "left" if is_last else "right", "va": "center", "fontsize": 6.5, "zorder": 4}
    halo = [withStroke(linewidth=2, foreground="white")]
    for height, text in ticks.items():
        ax.plot([place, place + 0.02 * side], [height, height], color="black", linewidth=0.7, zorder=3)
        ax.text(place + 0.035 * side, height, text, path_effects=halo, **style)
    ax.text(place, 1.06, title, ha="center", va="bottom", fontsize=8)


def in_view(search: SearchResult) -> list[ConfigurationResult]:
    """Finished configurations without the few that are so much worse than most that they would crowd the others.

    Worse by more than three times the distance of the quartiles, in an objective, and not on the front.
    """
    scores = np.array([c.values for c in search.finished]).reshape(-1, len(search.signs)) * search.signs
    low, high = np.quantile(scores, [0.25, 0.75], axis=0) if len(scores) else (0, 0)
    is_near = np.all(scores >= low - _FAR * (high - low), axis=1)
    front = pareto_front(search)
    return [one for one, near in zip(search.finished, is_near, strict=True) if near or one in front]


def pareto_figure(search: SearchResult) -> Figure:
    """Two objectives against each other, their front and the single seeds."""
    shown, hidden = in_view(search), len(search.finished) - len(in_view(search))
    outside = f" {hidden} far worse {'lie' if hidden > 1 else 'lies'} outside of the picture." if hidden else ""
    notes = [
        f"{search.heading}. Finished configurations only: means over seeds, joined to their seeds; with their "
        f"numbers on the front, where none is better in one objective and as good or better in the other.{outside}"
    ]
    with mpl.rc_context(STYLE):
        figure = figure_with_notes(3.0, notes)
        draw_pareto(figure.subplots(), search, shown)
        handles = [
            Line2D([], [], color=PALETTE[1], marker="o", markersize=4, linewidth=1, label="Pareto front"),
            dot_handle("other configurations", PALETTE[0]),
            dot_handle("their seeds", GREY, small=True),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def draw_pareto(ax: Axes, search: SearchResult, shown: Sequence[ConfigurationResult]) -> Axes:
    """First objective on the x axis, second on the y axis; the front as the stairs that bound what was reached."""
    front = pareto_front(search)
    for configuration in shown:
        _draw_with_seeds(ax, configuration, PALETTE[1] if configuration in front else PALETTE[0])
    corners = np.array([c.values for c in front]).reshape(-1, 2)
    ax.step(corners[:, 0], corners[:, 1], where="post", color=PALETTE[1], linewidth=1, zorder=2.2)
    sign_x, sign_y = search.signs
    offset: dict[str, Any] = {"xytext": (3 * sign_x, 3 * sign_y), "textcoords": "offset points", "fontsize": 6}
    sides: dict[str, Any] = {"ha": "left" if sign_x > 0 else "right", "va": "bottom" if sign_y > 0 else "top"}
    for configuration in front:
        ax.annotate(f"#{configuration.number}", (configuration.values[0], configuration.values[1]), **offset, **sides)
    ax.margins(0.08)
    ax.set_xlabel(metric_label(search.objectives[0]))
    ax.set_ylabel(metric_label(search.objectives[1]))
    return ax


def _draw_with_seeds(ax: Axes, configuration: ConfigurationResult, colour: str) -> None:
    """The mean as a dot, joined to its seeds by thin lines."""
    x, y = configuration.values
    if configuration.num_seeds > 1:
        seeds = np.array(configuration.seed_values)
        for seed_x, seed_y in seeds:
            ax.plot([x, seed_x], [y, seed_y], color=colour, linewidth=0.5, alpha=0.5, zorder=2.1)
        ax.scatter(seeds[:, 0], seeds[:, 1], color=colour, **SEED_DOTS)
    ax.plot([x], [y], color=colour, marker="o", markersize=4, linestyle="none", zorder=3)
