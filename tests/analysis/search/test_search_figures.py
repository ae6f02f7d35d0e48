"""The pictures of a search: what is drawn of its numbers, which there are, and that all texts lie within."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from sweeps.adaptive.sampling import Sampler
from sweeps.adaptive.space import parse_space
from sweeps.analysis.search import charts, landscapes, page
from sweeps.analysis.search.axes import axes_of
from sweeps.analysis.search.history import history
from sweeps.analysis.search.importances import FANOVA, PED_ANOVA, Importance
from sweeps.analysis.search.page import Picture, pictures
from sweeps.analysis.search.ranking import SearchResult, pareto_front, ranked, summarise
from sweeps.analysis.search.surrogate import surrogate
from sweeps.analysis.style import STYLE
from tests.analysis.search.invented_search import InventedSearch, describe, realistic, record, run_of, small

SIX = (
    "tau=0.1:10:log:zero",
    "z_dim=1:10",
    "gamma_tc=1:20:log:zero",
    "alpha=1:1000:log",
    "learning_rate=1e-5:1e-3:log",
    "label_rate=0.005,0.01,0.02",
)


def of_six_parameters() -> InventedSearch:
    sampler = Sampler(kind="random", space=parse_space(SIX), objectives=("mig",), seed=0)
    points = [dict(sampler.suggest(number, []).point) for number in range(12)]
    runs = [run_of(n, point, 0, (0.1 + n / 60, 0.5), parts=SIX) for n, point in enumerate(points)]
    return InventedSearch(describe(SIX), runs)


@pytest.fixture(scope="module")
def search() -> SearchResult:
    return summarise(record(realistic(("mig", "l2"), configurations=30)))


def all_pictures(invented: InventedSearch) -> list[Picture]:
    known = record(invented)
    return list(pictures(known, summarise(known)))


def visible_texts(figure: Figure) -> list[Any]:
    """Notes, legends, labels, ticks' texts and what is written within panels."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for ax in figure.axes:
        texts += ax.texts
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            low, high = sorted(axis.get_view_interval())
            texts += [axis.label, *(t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high)]
            texts += [t.label2 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_all_texts_lie_within_their_pictures() -> None:
    searches = (realistic(("mig", "l2"), 20), small(), of_six_parameters())
    for picture in [picture for search in searches for picture in all_pictures(search)]:
        if picture.figure is None:
            continue
        with mpl.rc_context(STYLE):
            canvas = FigureCanvasAgg(picture.figure)
            canvas.draw()
            frame = picture.figure.bbox.padded(1)
            for text in visible_texts(picture.figure):
                box = text.get_window_extent(canvas.get_renderer())
                inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
                assert inside, f"{picture.name}: {text.get_text()}"


def test_every_search_has_the_pictures_it_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.importances, "importances", lambda search: bars(search, *search.objectives))
    names = {picture.name for picture in all_pictures(realistic(("mig", "l2"), 10)) if picture.figure is not None}
    each = ("tau_sensitivity", "z_dim_sensitivity", "slice", "contour", "parallel")
    expected = {f"search_{name}_{objective}" for name in each for objective in ("mig", "l2")}
    assert names == expected | {"search_history", "search_importance", "search_pareto"}
    parts = ("gamma_tc=1:20:log",)
    runs = [run_of(n, {"gamma_tc": 1.0 + n}, 0, (0.1 * n, 0.5), parts=parts) for n in range(6)]
    of_one = [picture.name for picture in all_pictures(InventedSearch(describe(parts), runs))]
    assert of_one == ["search_history", "search_importance", "search_slice_mig", "search_parallel_mig"]


def dots(ax: Axes, hollow: bool) -> list[tuple[float, float]]:
    """Places of the dots that are hollow, or filled."""
    found = [c for c in ax.collections if c.get_offsets().size and (len(c.get_facecolors()) == 0) == hollow]
    return sorted((round(float(x), 9), round(float(y), 9)) for c in found for x, y in np.asarray(c.get_offsets()))


def test_the_history_shows_its_numbers_and_stopped_ones_hollow() -> None:
    known = record(small())
    shown = history(known, summarise(known), 0)
    ax = charts.draw_history(Figure().subplots(), shown, 1)
    for hollow, status in ((True, "stopped"), (False, "finished")):
        assert dots(ax, hollow) == sorted((e.budget, round(e.value, 9)) for e in shown.ends if e.status == status)
    [line] = [line for line in ax.lines if len(line.get_xdata()) > 1]
    assert list(line.get_ydata())[:-1] == [best.value for best in shown.best]
    assert list(line.get_xdata()) == [*(best.budget for best in shown.best), shown.budget]


def test_a_slice_shows_stopped_configurations_hollow_and_others_filled(search: SearchResult) -> None:
    [axis, *_] = axes_of(search.space)
    ax = Figure().subplots()
    landscapes.draw_slice(ax, search, axis, 0, room=2.0)

    def places(values: list[tuple[Any, float]]) -> list[tuple[float, float]]:
        return sorted((round(axis.position(fields["tau"]), 9), round(value, 9)) for fields, value in values)

    assert dots(ax, hollow=True) == places([(c.fields, c.values[0]) for c in search.having("stopped")])
    seeds = [(c.fields, v[0]) for c in search.finished if c.num_seeds > 1 for v in c.seed_values]
    assert dots(ax, hollow=False) == places([*seeds, *((c.fields, c.values[0]) for c in search.finished)])


def test_zero_has_a_place_of_its_own_left_of_the_range(search: SearchResult) -> None:
    model = surrogate(search, 0)
    assert model is not None
    ax = landscapes.draw_observed(Figure().subplots(), search, model.axes[0], 0)
    along = landscapes.draw_estimate(ax, model, 0, None)
    assert along.places.min() == model.axes[0].position(0.1) > 0
    assert list(np.isnan(along.mean)) == list(~model.is_near(0, along.places))
    [bar] = ax.containers
    assert bar.lines[0].get_ydata()[0] == pytest.approx(model.marginal(0, np.zeros(1)).mean[0])
    assert "0" in [label.get_text() for label in ax.get_xticklabels()]


def test_parallel_lines_of_stopped_configurations_have_no_end(search: SearchResult) -> None:
    ax = charts.draw_parallel(Figure().subplots(), search, 0)
    lengths = [len(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) > 2]
    assert lengths.count(3) == len(search.having("stopped"))
    assert lengths.count(4) == len(search.finished)
    [bold] = [line for line in ax.lines if line.get_linewidth() == 2]
    assert bold.get_ydata()[-1] == 1
    best = max(search.finished, key=lambda c: c.values[0])
    assert bold.get_ydata()[0] == axes_of(search.space)[0].position(best.fields["tau"])
    assert ranked(search)[0] == best


def test_the_pareto_front_is_drawn_as_the_stairs_of_what_was_reached(search: SearchResult) -> None:
    ax = charts.draw_pareto(Figure().subplots(), search, search.finished)
    [stairs] = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
    corners = list(zip(stairs.get_xdata(), stairs.get_ydata(), strict=True))
    assert corners == [c.values for c in pareto_front(search)]
    assert [text.get_text() for text in ax.texts] == [f"#{c.number}" for c in pareto_front(search)]


def test_what_is_far_worse_is_left_out_unless_it_is_on_the_front() -> None:
    values = [(0.20 + 0.01 * n, 0.020 + 0.001 * n) for n in range(9)] + [(0.5, 0.08), (0.2, 0.09)]
    runs = [run_of(n, {"tau": 1 + n / 10}, 0, pair, parts=("tau=0.1:10:log",)) for n, pair in enumerate(values)]
    found = summarise(record(InventedSearch(describe(("tau=0.1:10:log",), ("mig", "l2")), runs)))
    assert {c.number for c in charts.in_view(found)} == set(range(10)) >= {c.number for c in pareto_front(found)}


def bars(search: SearchResult, *objectives: str) -> list[Importance]:
    """Importances that nobody asked for."""
    return [
        Importance(objective, method, name, (1 + place) / 6, place / 6, (2 + place) / 6)
        for objective in objectives
        for method in (FANOVA, PED_ANOVA)
        for place, name in enumerate(search.space.parameters)
    ]


def test_importances_are_bars_and_say_on_how_many_configurations_they_rest(search: SearchResult) -> None:
    shown = bars(search, "mig")
    figure = charts.importance_figure(search, shown)
    assert f"{len(search.finished)} finished configurations" in figure.texts[0].get_text()
    [ax] = figure.axes
    assert [patch.get_width() for patch in ax.patches] == [one.share for one in shown]
    assert [list(line.get_xdata()) for line in ax.lines] == [[one.low, one.high] for one in shown]
    assert {patch.get_facecolor() for patch in ax.patches} == {to_rgba("#0072B2"), to_rgba("#D55E00")}
