"""The traversal figure: pixels where they belong, and what is written beside them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from larvae.traversal import Traversal
from sweeps.analysis.figures.traversal_figures import Model, TraversalComparison, draw_traversals, panel_picture

SIZE, GAP = 64, 4
PITCH = SIZE + GAP
VALUES = {"shape": ("square", "ellipse", "heart"), "position_x": ("0", "8", "16", "23", "31"), "scale": ("0.5", "1")}
TITLES = ("data", "SS-β-TCVAE", "LaRVAE")


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    """Images of which no pixel is white."""
    return np.random.default_rng(seed).integers(0, 255, (*shape, SIZE, SIZE), np.uint8)


def comparison(
    factors: tuple[str, ...] = tuple(VALUES), titles: tuple[str, ...] = TITLES, channels: int = 3
) -> TraversalComparison:
    """Images that are all different."""
    seeds = itertools.count(1)
    models = [
        Model(title, [Traversal(f, VALUES[f], noise(next(seeds), len(VALUES[f]), channels)) for f in factors])
        for title in titles
    ]
    return TraversalComparison(dataset="dsprites", reference=4711, reference_image=noise(0, channels), models=models)


@pytest.fixture(scope="module")
def figure() -> Figure:
    """The figure of all factors, laid out."""
    drawn = draw_traversals(comparison())
    FigureCanvasAgg(drawn).draw()
    return drawn


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_models", [1, 2, 3])
def test_every_image_is_in_its_place_and_all_else_is_white(channels: int, num_models: int) -> None:
    shown = comparison(titles=TITLES[:num_models], channels=channels)
    assert shown.num_columns == 5
    for factor in range(3):
        expected = np.full((num_models * PITCH - GAP, 6 * PITCH + GAP, 3), 255, np.uint8)
        top = (len(expected) - SIZE) // 2  # the reference is in the middle
        places = {(top, 0): shown.reference_image}
        for row, model in enumerate(shown.models):
            for column, image in enumerate(model.traversals[factor].images):
                places[row * PITCH, PITCH + GAP + column * PITCH] = image
        for (y, x), image in places.items():
            expected[y : y + SIZE, x : x + SIZE] = np.moveaxis(np.broadcast_to(image, (3, SIZE, SIZE)), 0, 2)
        np.testing.assert_array_equal(panel_picture(shown, factor), expected)
    assert panel_picture(comparison(factors=("scale",)), 0).shape[1] == 3 * PITCH + GAP  # few values: narrow


def test_a_panel_a_factor_with_values_above_its_images_and_numbers_beside_its_rows(figure: Figure) -> None:
    assert [ax.get_title() for ax in figure.axes] == ["shape", "position x", "scale", ""]
    assert not any(ax.axison for ax in figure.axes)
    for factor, (ax, names) in enumerate(zip(figure.axes[:3], VALUES.values(), strict=True)):
        [image] = ax.images
        assert np.array_equal(image.get_array(), panel_picture(comparison(), factor))
        assert image.get_interpolation() == "nearest"
        assert [text.get_text() for text in ax.texts] == [*names, "1", "2", "3"]
        values, rows = ax.texts[: len(names)], ax.texts[len(names) :]
        centres = [PITCH + GAP + column * PITCH + SIZE / 2 for column in range(len(names))]
        assert [text.get_position()[0] for text in values] == centres
        assert all(text.get_position()[1] < 0 for text in values)  # the axis points down
        assert [text.get_position()[1] for text in rows] == [SIZE / 2 + row * PITCH for row in range(3)]
        last = PITCH + GAP + len(names) * PITCH - GAP
        assert all(last <= text.get_position()[0] <= last + PITCH for text in rows)


def test_notes_say_what_the_rows_are_which_image_is_shown_and_what_training_was_shared(figure: Figure) -> None:
    [note] = comparison().notes
    for part in ("dSprites", "4711", "1: data", "2: SS-β-TCVAE", "3: LaRVAE"):
        assert part in note
    assert " ".join(" ".join(text.get_text() for text in figure.texts).split()) == note
    assert comparison()._replace(training="4 iterations").notes == [note, "Trained alike: 4 iterations."]


def test_images_are_of_one_size_and_nothing_reaches_beyond_the_figure_or_over_something_else(figure: Figure) -> None:
    widths, heights = zip(*[ax.get_window_extent().size for ax in figure.axes[:3]], strict=True)
    assert max(np.ptp(widths), np.ptp(heights)) < 1
    boxes = [text.get_window_extent() for ax in figure.axes[:3] for text in [*ax.texts, ax.title]]
    boxes += [text.get_window_extent() for text in figure.texts]
    width, height = figure.bbox.size
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
