"""The figure of sensitivities: what is drawn of each estimate, one figure for all, and its notes."""

from __future__ import annotations

import math

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from sweeps.analysis import load
from sweeps.analysis.estimates import Sensitivity, estimate_sensitivity
from sweeps.analysis.figures.sensitivity_figures import draw_curves, draw_limits, figure_notes, sensitivity_figure
from sweeps.analysis.parameters import TAU, parameter
from sweeps.analysis.settings import by_setting
from sweeps.analysis.style import MARKERS, PALETTE, PANELS, STYLE, figure_bytes
from tests.analysis.invented import MIXED, frame, grid, with_ends


def sensitivity_of(members: list, **columns: object) -> Sensitivity:
    return estimate_sensitivity("study", frame(members).assign(**columns), TAU)


def drawn(sensitivity: Sensitivity, metric: str = "mig") -> Axes:
    ax = Figure().subplots()
    draw_curves(ax, sensitivity, PANELS[metric], sensitivity.label_rates)
    draw_limits(ax, sensitivity, PANELS[metric])
    return ax


def markers(ax: Axes, filled: bool) -> list[float]:
    """Means drawn with filled or hollow markers."""
    lines = [line for line in ax.lines if line.get_marker() in MARKERS]
    chosen = [line for line in lines if same_color(line.get_markerfacecolor(), "white") != filled]
    return sorted(float(y) for line in chosen for y in line.get_ydata() if y == y)


def errorbars(ax: Axes) -> list[ErrorbarContainer]:
    return [container for container in ax.containers if isinstance(container, ErrorbarContainer)]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_every_mean_interval_and_seed_is_drawn_and_incomplete_means_are_hollow() -> None:
    sensitivity = sensitivity_of(MIXED)
    ax = drawn(sensitivity)
    mig = [e for e in sensitivity.estimates if e.metric == "mig"]
    assert markers(ax, filled=True) == sorted(e.interval.mean for e in mig if e.num_seeds == 2)
    assert markers(ax, filled=False) == [e.interval.mean for e in mig if e.num_seeds == 1] != []
    bars = errorbars(ax)
    assert [bar.lines[0].get_color() for bar in bars] == list(PALETTE[:2])
    assert all(bars[0].lines[0].get_xdata() < bars[1].lines[0].get_xdata())  # side by side
    for rate, bar in zip(sensitivity.label_rates, bars, strict=True):
        curve = [e for e in mig if e.label_rate == rate]
        assert list(bar.lines[0].get_ydata()) == pytest.approx([e.interval.mean for e in curve], nan_ok=True)
        ends = [segment[:, 1] for segment in bar.lines[2][0].get_segments() if len(segment)]
        known = [(e.interval.low, e.interval.high) for e in curve if e.num_seeds > 1]
        assert [tuple(end) for end in ends if not any(y != y for y in end)] == [pytest.approx(pair) for pair in known]
    dots = [float(y) for c in ax.collections if c.get_offsets().size for _, y in c.get_offsets()]
    assert {round(result, 9) for e in mig for result in e.seed_results} <= {round(y, 9) for y in dots}
    assert list(ax.get_xticks()) == [0, 1, 2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.5", "10"]


def test_a_reference_is_a_line_near_the_data_and_else_a_note_that_leaves_them_their_room() -> None:
    members = grid((0, 1, 10), (0.01,), (0,))
    far = drawn(sensitivity_of(members))
    assert (texts(far), far.get_ylim()[1] < 0.35) == (["↑ ceiling .896"], True)
    near = drawn(sensitivity_of(members, mig=[0.4, 0.6, 0.7]))
    assert texts(near) == ["ceiling .896"]
    [line] = [line for line in near.lines if line.get_linestyle() == "--"]
    assert (set(line.get_ydata()), near.get_ylim()[1] > 0.896) == ({0.896}, True)
    assert texts(drawn(sensitivity_of(members), "l2")) == ["↑ predicting the mean .725"]


def test_axes_leave_tiny_differences_small_and_stay_within_what_a_metric_can_be() -> None:
    low, high = drawn(sensitivity_of(grid((0, 1), (0.01,), (0,)), mig=[0.2, 0.2001])).get_ylim()
    assert (high - low, (low + high) / 2) == pytest.approx((0.02, 0.20005))
    low, high = drawn(sensitivity_of(grid((0, 1), (0.01,), (0, 1)), mig=[0.05, 0.25, 0.1, 0.2])).get_ylim()
    assert low == 0
    assert high <= 1


def test_notes_say_what_is_drawn_and_name_failures_first() -> None:
    one = figure_notes([sensitivity_of(grid((0, 1), (0.01,), (0,)))])
    caution = "After so few of the paper's 1,000,000 iterations, longer training may change any difference."
    assert one == ["study: dSprites, 1,000 iterations; one seed", caution]
    [note] = figure_notes([sensitivity_of(grid((0, 1), (0.01,), (0, 1, 2)), iterations=10_000)])
    assert note == "study: dSprites, 10,000 iterations; mean, 95 % t-interval and single values of 3 seeds"
    uneven = grid((0,), (0.01,), (0, 1, 2)) + grid((1,), (0.01,), (0,))
    assert figure_notes([sensitivity_of(uneven)])[0].endswith("single values of 1 to 3 seeds")
    ends = {(1.0, 0.01, seed): ("SCHEDULED", "") for seed in range(6)}
    ends[5.0, 0.01, 3] = ("FAILED", "the reason is long " * 20)
    sensitivity = sensitivity_of(with_ends(grid((0, 1, 5), (0.01,), range(6)), ends))
    note = " ".join(figure_notes([sensitivity])[2:])
    assert note.startswith("7 of 18 members missing: τ=5 η=0.01 seed 3 (FAILED: the reason is long")
    scheduled = ", ".join(f"τ=1 η=0.01 seed {seed} (SCHEDULED)" for seed in range(3))
    assert note.endswith(f"…), {scheduled}, and 3 more; see CSV")


def test_names_lie_in_the_papers_order_and_are_not_joined() -> None:
    """Regularisers come from MLflow by alphabet; between two of them there is nothing."""
    names = ("beta_tcvae", "annealed_vae", "beta_vae")
    members = [m for name in names for m in grid((1,), (0.01,), (0, 1), regulariser=name)]
    ax = drawn(estimate_sensitivity("study", frame(members), parameter("regulariser")))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["β-VAE", "β-TCVAE", "AnnealedVAE"]
    [bar] = errorbars(ax)
    assert list(bar.lines[0].get_xdata()) == sorted(bar.lines[0].get_xdata())
    assert bar.lines[0].get_linewidth() == 0


def test_the_figure_has_a_row_a_setting_on_one_scale_and_notes_that_fit_below_it() -> None:
    failed = {(1.0, 0.01, 1): ("FAILED", "CostError: $5 < $6 and " * 9)}
    low = with_ends(grid((0, 1), (0.01,), (0, 1), alpha=1.0), failed)
    settings = by_setting(frame([*low, *grid((0, 1), (0.01, 0.02), (0,), alpha=64.0)]), TAU)
    figure = sensitivity_figure([estimate_sensitivity("study", some.members, TAU, some.name) for some in settings])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["α = 1", "", "α = 64", ""]
    assert [ax.get_ylabel().split()[0] for ax in figure.axes[:2]] == ["MIG", r"$\ell_2$"]
    assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim()
    low, high = figure.axes[0].get_ylim()
    means = [y for ax in figure.axes[::2] for filled in (True, False) for y in markers(ax, filled)]
    assert low <= min(means) <= max(means) <= high  # of all rows, not of the first
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["η = 1 %", "η = 2 %"]
    [note] = figure.texts
    assert "hollow: seeds missing" in note.get_text()
    assert "1 of 8 members missing" in note.get_text()
    assert "α" not in note.get_text()
    with mpl.rc_context(STYLE):
        for _ in range(2):  # as saving does, lest the layout be half done
            figure.draw_without_rendering()
        box = note.get_window_extent()
        assert 0 <= box.y0 < box.y1 <= min(ax.get_tightbbox().y0 for ax in figure.axes)
        assert box.x1 <= figure.bbox.width


def laid_out(figure: Figure) -> list[tuple[float, float]]:
    """Left and right ends of what lies outside of axes, when the layout is done."""
    with mpl.rc_context(STYLE):
        for _ in range(2):
            figure.draw_without_rendering()
        found = [*figure.legends, *figure.texts, *(ax._left_title for ax in figure.axes)]
        return [(box.x0, box.x1) for box in (artist.get_window_extent() for artist in found) if box.width]


@pytest.mark.slow
def test_many_label_rates_values_and_settings_stay_within_the_figure_and_apart() -> None:
    rates = [0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.15]
    members = frame(grid([0.05 * k for k in range(13)], rates, (0, 1)))
    setting = "study = a $1 study & <b>, " + "a setting of many words, " * 5
    figure = sensitivity_figure([estimate_sensitivity("study", members, TAU, setting)])
    assert all(left >= 0 and right <= figure.bbox.width for left, right in laid_out(figure))
    labels = [label for ax in figure.axes for label in ax.get_xticklabels()]
    assert {label.get_rotation() for label in labels} == {45}


def test_missing_members_of_several_studies_are_told_of_each() -> None:
    """Both have members of the same configurations."""
    one = with_ends(grid((0, 1), (0.01,), (0, 1)), {(1, 0.01, 1): ("FAILED", "of an error")})
    both = load.together(["before", "after"], [frame(one), frame(one)])
    found = [estimate_sensitivity("study", some.members, TAU, some.name) for some in by_setting(both, TAU)]
    note = figure_notes(found)[-1]
    assert note.startswith("2 of 8 members missing: after: τ=1 η=0.01 seed 1 (FAILED: of an error), before: τ=1")


def test_a_label_rate_has_one_colour_in_rows_of_other_label_rates() -> None:
    settings = by_setting(frame([*grid((0, 1), (0.01,), (0, 1)), *grid((0, 1), (0.02,), (0, 1), alpha=64.0)]), TAU)
    figure = sensitivity_figure([estimate_sensitivity("study", some.members, TAU, some.name) for some in settings])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["η = 1 %", "η = 2 %"]
    assert [errorbars(ax)[0].lines[0].get_color() for ax in figure.axes[::2]] == list(PALETTE[:2])


def test_data_sets_of_several_rows_are_all_named_and_each_is_drawn_by_the_metrics_that_it_has() -> None:
    """CelebA has no MIG."""
    faces = frame(grid((0, 1), (0.01,), (0, 1), dataset="celeba")).assign(mig=math.nan)
    both = pd.concat([faces, frame(grid((0, 1), (0.01,), (0, 1)))], ignore_index=True)
    found = [estimate_sensitivity("study", some.members, TAU, some.name) for some in by_setting(both, TAU)]
    axes = sensitivity_figure(found).axes
    assert [(ax.get_title(loc="left"), bool(errorbars(ax))) for ax in axes] == [
        ("CelebA", False),
        ("", True),
        ("dSprites", True),
        ("", True),
    ]
    assert figure_notes(found)[0].startswith("study: dSprites, CelebA, 1,000 iterations")


def test_data_sets_side_by_side_have_no_reference_of_one_of_them() -> None:
    members = [m for name in ("dsprites", "shapes3d") for m in grid((1,), (0.01,), (0, 1), dataset=name)]
    sensitivity = estimate_sensitivity("study", frame(members), parameter("dataset"))
    assert sensitivity.references == {}
    assert texts(drawn(sensitivity)) == []


def test_the_interval_of_two_seeds_does_not_flatten_those_of_three() -> None:
    members = [*grid((0, 1), (0.01,), range(3)), *grid((1,), (0.02,), range(2))]
    migs = [0.30, 0.31, 0.32, 0.33, 0.34, 0.35, 0.2, 0.4]
    sensitivity = sensitivity_of(members, mig=migs)
    low, high = drawn(sensitivity).get_ylim()
    assert 0.15 < low < 0.2
    assert 0.4 < high < 0.45
    assert "an interval of two seeds may leave the axis" in figure_notes([sensitivity])[0]
    alone = drawn(sensitivity_of(grid((0, 1), (0.01,), range(2)), mig=[0.2, 0.4, 0.25, 0.45]))
    assert alone.get_ylim() == (0, 1)


def test_equal_figures_are_equal_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STYLE, "savefig.dpi", 40)
    sensitivity = sensitivity_of(grid((0, 1), (0.01,), (0,)))
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        first, second = (figure_bytes(sensitivity_figure([sensitivity]), kind) for _ in range(2))
        assert first.startswith(start)
        assert first == second
