"""The traversal figure: pixels where they belong, and what is written beside them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray

from larvae.traversal import Traversal
from sweeps.analysis import style
from sweeps.analysis.figures.traversal_figures import Model, TraversalComparison, draw_traversals, panel_picture

SIZE, GAP = 64, 4
PITCH = SIZE + GAP
VALUES = {"shape": ("square", "ellipse", "heart"), "position_x": ("0", "8", "16", "23", "31"), "scale": ("0.5", "1")}


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    """No pixel of it is white."""
    return np.random.default_rng(seed).integers(0, 255, (*shape, SIZE, SIZE), np.uint8)


def comparison(
    factors: tuple[str, ...] = tuple(VALUES),
    titles: tuple[str, ...] = ("data", "SS-β-TCVAE", "LaRVAE"),
    channels: int = 3,
) -> TraversalComparison:
    """Images that are all different."""
    seeds = itertools.count(1)
    models = [
        Model(title, [Traversal(f, VALUES[f], noise(next(seeds), len(VALUES[f]), channels)) for f in factors])
        for title in titles
    ]
    return TraversalComparison(dataset="dsprites", reference=4711, reference_image=noise(0, channels), models=models)


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(channels, 64, 64) to (64, 64, 3)."""
    return np.broadcast_to(image, (3, SIZE, SIZE)).transpose(1, 2, 0)


# Pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_models", [1, 2, 3])
@pytest.mark.parametrize("factor", [0, 1, 2])
def test_every_image_is_in_its_place_and_all_else_is_white(channels: int, num_models: int, factor: int) -> None:
    shown = comparison(titles=("data", "baseline", "larvae")[:num_models], channels=channels)
    picture = panel_picture(shown, factor)
    assert picture.dtype == np.uint8
    assert picture.shape == (num_models * PITCH - GAP, 6 * PITCH + GAP, 3)
    rest = picture.copy()
    top = (len(picture) - SIZE) // 2
    assert np.array_equal(picture[top : top + SIZE, :SIZE], as_rgb(shown.reference_image))
    rest[top : top + SIZE, :SIZE] = 255
    for row, model in enumerate(shown.models):
        for column, image in enumerate(model.traversals[factor].images):
            y, x = row * PITCH, PITCH + GAP + column * PITCH
            assert np.array_equal(picture[y : y + SIZE, x : x + SIZE], as_rgb(image)), (row, column)
            rest[y : y + SIZE, x : x + SIZE] = 255
    assert (rest == 255).all()


def test_white_is_between_neighbours_and_twice_as_wide_beside_the_reference() -> None:
    white = (panel_picture(comparison(), 1) == 255).all(axis=2)
    columns = np.flatnonzero(white.all(axis=0))
    gaps = [
        *range(SIZE, PITCH + GAP),
        *[PITCH + GAP + column * PITCH + SIZE + pixel for column in range(5) for pixel in range(GAP)],
    ]
    assert columns.tolist() == gaps
    images = white[:, PITCH + GAP :]
    assert np.flatnonzero(images.all(axis=1)).tolist() == [64, 65, 66, 67, 132, 133, 134, 135]


def test_factors_of_fewer_values_are_padded_with_white_to_the_same_width() -> None:
    shown = comparison()
    assert shown.num_columns == 5
    pictures = [panel_picture(shown, factor) for factor in range(3)]
    assert len({picture.shape for picture in pictures}) == 1
    for picture, num_values in zip(pictures, (3, 5, 2), strict=True):
        end = PITCH + GAP + num_values * PITCH - GAP
        assert (picture[:, end:] == 255).all()
        assert (picture[:, end - 1] != 255).any()


def test_with_few_values_everywhere_panels_are_narrow() -> None:
    assert comparison(factors=("scale",)).num_columns == 2
    assert panel_picture(comparison(factors=("scale",)), 0).shape[1] == 3 * PITCH + GAP


def test_the_reference_is_in_the_middle_of_its_height() -> None:
    picture = panel_picture(comparison(titles=("a", "b")), 0)
    dark = np.flatnonzero((picture[:, :SIZE] != 255).any(axis=(1, 2)))
    assert dark.tolist() == list(range(34, 34 + SIZE))
    assert len(picture) == 34 + SIZE + 34


# Drawing


def test_a_panel_a_factor_with_its_name_and_values() -> None:
    figure = draw_traversals(comparison())
    titled = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in titled] == ["shape", "position x", "scale"]
    for ax, names in zip(titled, VALUES.values(), strict=True):
        assert [text.get_text() for text in ax.texts] == [*names, "1", "2", "3"]
        assert not ax.axison


def test_pixels_are_drawn_as_they_are() -> None:
    shown = comparison()
    figure = draw_traversals(shown)
    for factor, ax in enumerate(figure.axes[:3]):
        [image] = ax.images
        assert np.array_equal(image.get_array(), panel_picture(shown, factor))
        assert image.get_interpolation() == "nearest"


def test_value_names_are_above_their_images_and_numbers_beside_their_rows() -> None:
    figure = draw_traversals(comparison())
    for ax, names in zip(figure.axes[:3], VALUES.values(), strict=True):
        values, rows = ax.texts[: len(names)], ax.texts[len(names) :]
        centres = [PITCH + GAP + column * PITCH + SIZE / 2 for column in range(len(names))]
        assert [text.get_position()[0] for text in values] == centres
        assert all(text.get_position()[1] < 0 for text in values)  # the axis points down
        assert [text.get_position()[1] for text in rows] == [SIZE / 2 + row * PITCH for row in range(3)]
        last = PITCH + GAP + len(names) * PITCH - GAP
        assert all(last <= text.get_position()[0] <= last + PITCH for text in rows)


def test_notes_say_what_the_rows_are_and_which_image_is_shown() -> None:
    shown = comparison()
    [note] = shown.notes
    for part in ("dSprites", "4711", "1: data", "2: SS-β-TCVAE", "3: LaRVAE"):
        assert part in note
    written = " ".join(text.get_text() for text in draw_traversals(shown).texts)
    assert " ".join(written.split()) == note


@pytest.mark.parametrize("num_panels", [1, 2, 3])
def test_an_odd_number_of_panels_leaves_an_empty_axes_off(num_panels: int) -> None:
    figure = draw_traversals(comparison(factors=tuple(VALUES)[:num_panels]))
    assert len(figure.axes) == 2 * ((num_panels + 1) // 2)
    assert [bool(ax.images) for ax in figure.axes] == [True] * num_panels + [False] * (num_panels % 2)
    assert not any(ax.axison for ax in figure.axes)
    assert all(not ax.texts and not ax.get_title() for ax in figure.axes[num_panels:])


def test_all_images_of_a_figure_are_of_one_size() -> None:
    figure = draw_traversals(comparison())
    FigureCanvasAgg(figure).draw()  # lays the axes out
    widths, heights = zip(*[ax.get_window_extent().size for ax in figure.axes[:3]], strict=True)
    assert np.ptp(widths) < 1
    assert np.ptp(heights) < 1


def test_nothing_reaches_beyond_the_figure_or_over_something_else() -> None:
    figure = draw_traversals(comparison())
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for ax in figure.axes[:3] for text in [*ax.texts, ax.title]]
    boxes += [text.get_window_extent() for text in figure.texts]
    width, height = figure.bbox.size
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_the_same_comparison_gives_the_same_bytes() -> None:
    first, second = (style.figure_bytes(draw_traversals(comparison()), "pdf") for _ in range(2))
    assert first == second
    assert first.startswith(b"%PDF")
