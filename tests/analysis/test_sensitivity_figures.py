from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from sweeps.analysis.estimates import Sensitivity, estimate_sensitivity
from sweeps.analysis.figures.sensitivity_figures import draw_sensitivity, figure_notes, sensitivity_figure
from sweeps.analysis.parameters import TAU
from sweeps.analysis.settings import by_setting
from sweeps.analysis.style import MARKERS, PALETTE, PANELS, figure_bytes
from tests.analysis.invented import MIXED, frame, grid, with_ends

MIG, L2 = PANELS["mig"], PANELS["l2"]


def sensitivity_of(members: list) -> Sensitivity:
    return estimate_sensitivity("study", frame(members), TAU)


def drawn(sensitivity: Sensitivity, panel: object = MIG) -> Axes:
    return draw_sensitivity(Figure().subplots(), sensitivity, panel)


def markers(ax: Axes, filled: bool) -> list[tuple[float, float]]:
    """Means drawn with filled or hollow markers."""
    lines = [line for line in ax.lines if line.get_marker() in MARKERS]
    chosen = [line for line in lines if same_color(line.get_markerfacecolor(), "white") != filled]
    return [(float(x), float(y)) for line in chosen for x, y in line.get_xydata()]


def errorbars(ax: Axes) -> list[ErrorbarContainer]:
    return [container for container in ax.containers if isinstance(container, ErrorbarContainer)]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_values_are_equally_spaced_categories() -> None:
    ax = drawn(sensitivity_of(grid((10, 0, 0.5), (0.01,), (0,))))
    assert list(ax.get_xticks()) == [0, 1, 2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.5", "10"]
    assert ax.get_xlabel() == "τ"


def test_one_seed_is_points_joined_by_a_line_without_intervals() -> None:
    ax = drawn(sensitivity_of(grid((0, 1, 5), (0.01,), (0,))))
    assert errorbars(ax) == []
    assert len(ax.collections) == 0
    assert markers(ax, filled=True) == [(0, pytest.approx(0.21)), (1, pytest.approx(0.22)), (2, pytest.approx(0.26))]
    assert list(ax.lines[0].get_ydata()) == pytest.approx([0.21, 0.22, 0.26])


def test_several_seeds_have_t_intervals_and_a_dot_each() -> None:
    ax = drawn(sensitivity_of(grid((0, 1), (0.01, 0.02), (0, 1, 2))))
    bars = errorbars(ax)
    assert len(bars) == 2
    # Seeds differ by .001, so std = .001 and the half width is .001 · 4.302653 / √3.
    [low, high] = bars[0].lines[2][0].get_segments()[0]
    assert high[1] - low[1] == pytest.approx(2 * 0.002484138)
    scatters = [collection for collection in ax.collections if isinstance(collection, PathCollection)]
    dots = [float(y) for scatter in scatters for _, y in scatter.get_offsets()]
    assert sorted(dots) == pytest.approx(sorted(m.mig for m in grid((0, 1), (0.01, 0.02), (0, 1, 2))))


def test_label_rates_stand_side_by_side_in_their_colours() -> None:
    ax = drawn(sensitivity_of(grid((0, 1), (0.01, 0.02), (0, 1))))
    first, second = (bar.lines[0] for bar in errorbars(ax))
    assert all(first.get_xdata() < second.get_xdata())
    assert [first.get_color(), second.get_color()] == list(PALETTE[:2])


def test_points_with_missing_seeds_are_hollow_and_points_without_any_leave_a_gap() -> None:
    ax = drawn(sensitivity_of(MIXED))
    assert [y for _, y in markers(ax, filled=False) if y == y] == pytest.approx([0.215])
    assert len([y for _, y in markers(ax, filled=True) if y == y]) == 4
    assert [bool(y != y) for y in errorbars(ax)[1].lines[0].get_ydata()] == [False, False, True]


def test_a_reference_far_from_the_data_is_a_note_and_leaves_them_their_room() -> None:
    ax = drawn(sensitivity_of(grid((0, 1, 10), (0.01,), (0,))))
    assert texts(ax) == ["↑ ceiling .896"]
    assert ax.get_ylim()[1] < 0.35


def test_a_reference_near_the_data_is_a_dashed_line() -> None:
    members = frame(grid((0, 1, 10), (0.01,), (0,))).assign(mig=[0.4, 0.6, 0.7])
    ax = drawn(estimate_sensitivity("study", members, TAU))
    assert texts(ax) == ["ceiling .896"]
    [line] = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert set(line.get_ydata()) == {0.896}
    assert ax.get_ylim()[1] > 0.896


def test_the_reference_of_l2_is_predicting_the_mean() -> None:
    assert texts(drawn(sensitivity_of(grid((0, 1), (0.01,), (0,))), L2)) == ["↑ predicting the mean .725"]


def test_tiny_differences_do_not_fill_the_axis() -> None:
    members = frame(grid((0, 1), (0.01,), (0,))).assign(mig=[0.2, 0.2001])
    low, high = drawn(estimate_sensitivity("study", members, TAU)).get_ylim()
    assert high - low == pytest.approx(0.02)
    assert (low + high) / 2 == pytest.approx(0.20005)


def test_axes_stay_within_what_a_metric_can_be() -> None:
    members = frame(grid((0, 1), (0.01,), (0, 1))).assign(mig=[0.05, 0.25, 0.1, 0.2])
    ax = drawn(estimate_sensitivity("study", members, TAU))
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] <= 1


def test_figure_has_two_panels_a_legend_and_the_missing_members() -> None:
    figure = sensitivity_figure([sensitivity_of(MIXED)])
    assert [ax.get_ylabel().split()[0] for ax in figure.axes] == ["MIG", r"$\ell_2$"]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["η = 1 %", "η = 2 %"]
    [note] = [text.get_text() for text in figure.texts]
    assert "3 of 12 members missing" in note
    assert "hollow: seeds missing" in note


def test_notes_say_what_is_drawn() -> None:
    [note, caution] = figure_notes([sensitivity_of(grid((0, 1), (0.01,), (0,)))])
    assert note == "study: dsprites, 1,000 iterations; one seed"
    assert caution == "After so few iterations, differences of this size come and go with seed and budget."
    [note, _] = figure_notes([sensitivity_of(grid((0, 1), (0.01,), (0, 1, 2)))])
    assert note == "study: dsprites, 1,000 iterations; mean, 95 % t-interval and single values of 3 seeds"
    members = frame(grid((0, 1), (0.01,), (0,))).assign(iterations=10_000)
    assert len(figure_notes([estimate_sensitivity("study", members, TAU)])) == 1


def test_each_setting_has_a_row_of_panels_on_one_scale() -> None:
    members = [*grid((0, 1), (0.01,), (0, 1), alpha=1.0), *grid((0, 1), (0.01, 0.02), (0,), alpha=64.0)]
    settings = by_setting(frame(members), TAU)
    sensitivities = [estimate_sensitivity("study", some.members, TAU, some.name) for some in settings]
    figure = sensitivity_figure(sensitivities)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["α = 1", "", "α = 64", ""]
    assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["η = 1 %", "η = 2 %"]
    assert "α" not in figure.texts[0].get_text()


def test_notes_name_failures_first_and_count_the_rest() -> None:
    ends = {(1.0, 0.01, seed): ("SCHEDULED", "") for seed in range(6)}
    ends[5.0, 0.01, 3] = ("FAILED", "the reason is long " * 20)
    sensitivity = sensitivity_of(with_ends(grid((0, 1, 5), (0.01,), range(6)), ends))
    note = " ".join(figure_notes([sensitivity])[2:])
    assert note.startswith("7 of 18 members missing: τ=5 η=0.01 seed 3 (FAILED: the reason is long")
    assert note.endswith(
        "…), τ=1 η=0.01 seed 0 (SCHEDULED), τ=1 η=0.01 seed 1 (SCHEDULED), τ=1 η=0.01 seed 2 "
        "(SCHEDULED), and 3 more; see CSV"
    )


def test_text_of_the_notes_stays_inside_the_figure() -> None:
    ends = {(tau, 0.01, seed): ("FAILED", "CostError: $5 < $6 and " * 9) for tau in (1.0, 5.0) for seed in range(3)}
    figure = sensitivity_figure([sensitivity_of(with_ends(grid((0, 1, 5), (0.01,), range(3)), ends))])
    figure.draw_without_rendering()
    [note] = figure.texts
    extent = note.get_window_extent()
    assert extent.y0 >= 0
    assert extent.x1 <= figure.bbox.width
    axes_bottom = min(ax.get_tightbbox().y0 for ax in figure.axes)
    assert extent.y1 <= axes_bottom


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_files_are_reproducible(kind: str, start: bytes) -> None:
    sensitivity = sensitivity_of(grid((0, 1), (0.01,), (0,)))
    content = figure_bytes(sensitivity_figure([sensitivity]), kind)
    assert content.startswith(start)
    assert content == figure_bytes(sensitivity_figure([sensitivity]), kind)
