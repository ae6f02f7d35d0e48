from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from sweeps.analysis.search import charts, landscapes
from sweeps.analysis.search.axes import axes_of
from sweeps.analysis.search.history import history
from sweeps.analysis.search.importances import importances
from sweeps.analysis.search.page import Picture, pictures
from sweeps.analysis.search.ranking import SearchResult, pareto_front, ranked, summarise
from sweeps.analysis.search.surrogate import surrogate
from sweeps.analysis.style import STYLE
from tests.analysis.invented_search import InventedSearch, describe, realistic, record, run_of, small

SIX = (
    "tau=0.1:10:log:zero",
    "z_dim=1:10",
    "gamma_tc=1:20:log:zero",
    "alpha=1:1000:log",
    "learning_rate=1e-5:1e-3:log",
    "label_rate=0.005,0.01,0.02",
)


def of_six_parameters() -> InventedSearch:
    rng = np.random.default_rng(0)
    runs = []
    for number in range(12):
        tau, gamma_tc, alpha, rate = rng.uniform(0, 1, 4).tolist()
        point = {
            "tau": 0.1 * 100**tau,
            "z_dim": 1 + number % 10,
            "gamma_tc": 20**gamma_tc,
            "alpha": 1000**alpha,
            "learning_rate": 1e-5 * 100**rate,
            "label_rate": (0.005, 0.01, 0.02)[number % 3],
        }
        runs.append(run_of(number, point, 0, (0.1 + 0.2 * tau, 0.5), parts=SIX))
    return InventedSearch(describe(SIX), runs)


@pytest.fixture(scope="module")
def search() -> SearchResult:
    return summarise(record(realistic(configurations=30)))


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


@pytest.fixture(scope="module")
def of_two_objectives() -> list[Picture]:
    return all_pictures(realistic(("mig", "l2"), 20))


@pytest.mark.filterwarnings("error")
def test_all_texts_lie_within_their_pictures(of_two_objectives: list[Picture]) -> None:
    for picture in [*of_two_objectives, *all_pictures(small()), *all_pictures(of_six_parameters())]:
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


def test_every_search_has_the_pictures_it_can_have(of_two_objectives: list[Picture]) -> None:
    names = {picture.name for picture in of_two_objectives if picture.figure is not None}
    each = ("tau_sensitivity", "z_dim_sensitivity", "slice", "contour", "parallel")
    expected = {f"search_{name}_{objective}" for name in each for objective in ("mig", "l2")}
    assert names == expected | {"search_history", "search_importance", "search_pareto"}


def test_one_parameter_has_no_contours_and_another_than_tau_no_sensitivity_to_tau() -> None:
    runs = [run_of(n, {"gamma_tc": 1.0 + n}, 0, (0.1 * n, 0.5), parts=("gamma_tc=1:20:log",)) for n in range(6)]
    names = [picture.name for picture in all_pictures(InventedSearch(describe(("gamma_tc=1:20:log",)), runs))]
    assert names == ["search_history", "search_importance", "search_slice_mig", "search_parallel_mig"]


def dots(ax: Axes, hollow: bool) -> np.ndarray:
    """Places of the dots that are hollow, or filled."""
    found = [c for c in ax.collections if c.get_offsets().size and (len(c.get_facecolors()) == 0) == hollow]
    return np.concatenate([np.asarray(c.get_offsets()) for c in found])


def test_the_history_shows_its_numbers_and_stopped_ones_hollow() -> None:
    known = record(small())
    shown = history(known, summarise(known), 0)
    ax = charts.draw_history(Figure().subplots(), shown, 1)
    assert sorted(map(tuple, dots(ax, hollow=True))) == [
        (e.budget, e.value) for e in shown.ends if e.status == "stopped"
    ]
    filled = sorted((e.budget, e.value) for e in shown.ends if e.status == "finished")
    assert sorted(map(tuple, dots(ax, hollow=False))) == filled
    [line] = [line for line in ax.lines if len(line.get_xdata()) > 1]
    assert list(line.get_ydata())[:-1] == [best.value for best in shown.best]
    assert list(line.get_xdata()) == [*(best.budget for best in shown.best), shown.budget]


def test_a_slice_shows_stopped_configurations_hollow_and_others_filled(search: SearchResult) -> None:
    [axis, *_] = axes_of(search.space)
    ax = Figure().subplots()
    landscapes.draw_slice(ax, search, axis, 0, room=2.0)
    values = {round(c.values[0], 9) for c in search.having("stopped")}
    assert {round(y, 9) for y in dots(ax, hollow=True)[:, 1]} == values
    filled = {round(y, 9) for y in dots(ax, hollow=False)[:, 1]}
    assert {round(c.values[0], 9) for c in search.finished} <= filled
    assert {round(v[0], 9) for c in search.finished if c.num_seeds > 1 for v in c.seed_values} <= filled
    assert filled.isdisjoint(values)


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


def test_the_estimate_says_what_it_is_and_what_it_leaves_out(search: SearchResult) -> None:
    notes = " ".join(landscapes.sensitivity_notes(search, axes_of(search.space), 0, has_model=True))
    for phrase in ("Gaussian process", "averaged over dim z, γ_tc of the finished", "95 % intervals", "flatters"):
        assert phrase in notes
    few = landscapes.sensitivity_notes(search, axes_of(search.space), 0, has_model=False)
    assert few[1] == f"Too few finished configurations for an estimate: {len(search.finished)}."


def test_parallel_lines_of_stopped_configurations_have_no_end(search: SearchResult) -> None:
    ax = charts.draw_parallel(Figure().subplots(), search, 0)
    lengths = [len(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) > 2]
    assert lengths.count(3) == len(search.having("stopped"))
    assert lengths.count(4) == len(search.finished)
    [bold] = [line for line in ax.lines if line.get_linewidth() == 2]
    assert bold.get_ydata()[-1] == 1
    assert bold.get_ydata()[0] == axes_of(search.space)[0].position(ranked(search)[0].fields["tau"])


def test_the_pareto_front_is_drawn_as_the_stairs_of_what_was_reached() -> None:
    search = summarise(record(realistic(("mig", "l2"), 20)))
    ax = charts.draw_pareto(Figure().subplots(), search, search.finished)
    [stairs] = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
    corners = list(zip(stairs.get_xdata(), stairs.get_ydata(), strict=True))
    assert corners == [c.values for c in pareto_front(search)]
    assert [text.get_text() for text in ax.texts] == [f"#{c.number}" for c in pareto_front(search)]


def test_the_few_that_are_far_worse_lie_outside_of_the_view_and_are_counted() -> None:
    points = [{"tau": 0.2 + n / 10, "z_dim": 5, "gamma_tc": 4.0} for n in range(13)]
    ends = [(0.3 + n / 1000, 0.4 + n / 1000) for n in range(12)]
    runs = [run_of(n, point, 0, end) for n, (point, end) in enumerate(zip(points, [*ends, (0.01, 0.9)], strict=True))]
    search = summarise(record(InventedSearch(describe(objectives=("mig", "l2")), runs)))
    assert [c.number for c in charts.in_view(search)] == list(range(12))
    [note, *_] = [text.get_text() for text in charts.pareto_figure(search).texts]
    assert "1 far worse lies outside" in " ".join(note.split())


def test_importances_say_on_how_many_configurations_they_rest(search: SearchResult) -> None:
    figure = charts.importance_figure(search, importances(search))
    assert f"{len(search.finished)} finished configurations" in figure.texts[0].get_text()
    [ax] = figure.axes
    assert len(ax.patches) == 2 * len(search.space.parameters)
    assert {patch.get_facecolor() for patch in ax.patches} == {to_rgba("#0072B2"), to_rgba("#D55E00")}
