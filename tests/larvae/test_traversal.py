"""Label traversals: which values are shown, what is held, and the picture of all of them."""

from __future__ import annotations

import dataclasses
import io
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from larvae.config import MemberConfig
from larvae.datasets import SPECIFICATIONS, Dataset
from larvae.datasets.dsprites import GRID
from larvae.errors import InvalidInputError
from larvae.training import Trainer
from larvae.traversal import (
    STEPS,
    as_picture,
    reference_image,
    traversal_png,
    traverse,
    traversed_values,
    value_names,
)

CONFIG = MemberConfig(batch_size=4, label_rate=0.001, z_dim=3)
PARTIAL = dataclasses.replace(CONFIG, observed_factors=("scale", "position_y"))
REFERENCE = 400_000
GAP, LINE, SIZE = 4, 12, 64
"""Pixels between images of the picture, above them for text, and of an image."""

Latents = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


@pytest.fixture(scope="module")
def trainer(dataset: Dataset) -> Trainer:
    return Trainer(CONFIG, dataset)


@pytest.fixture(scope="module")
def partial_trainer(dataset: Dataset) -> Trainer:
    return Trainer(PARTIAL, dataset)


def decoded_latents(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> Latents:
    """A list to which the trainer adds the labels and the nuisance that it decodes."""
    latents: Latents = []
    decode = trainer.decode

    def recorded(labels: NDArray[np.float32], nuisance: NDArray[np.float32]) -> NDArray[np.uint8]:
        latents.append((labels, nuisance))
        return decode(labels, nuisance)

    monkeypatch.setattr(trainer, "decode", recorded)
    return latents


# Values


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_values_are_even_from_the_first_class_to_the_last(name: str) -> None:
    """A factor that goes round ends a step before its beginning, or there; classes are as even as they can be."""
    factors = SPECIFICATIONS[name].factors
    for (factor, size), steps in itertools.product(zip(factors.names, factors.sizes, strict=True), (1, 2, 3, 5, 40)):
        period = factors.periods.get(factor)
        values = traversed_values(factors, factor, steps)
        assert len(values) == steps
        assert values[0] == 0
        assert np.allclose(np.diff(values), min((period or np.inf) / steps, (size - 1) / max(steps - 1, 1)))
        assert period or steps == 1 or values[-1] == size - 1
        assert values[-1] <= size - 1  # labels beyond it are none that a decoder has seen

        classes = traversed_values(factors, factor, steps, classes=True)
        spacing = np.diff([*classes, period] if period else classes)
        assert np.array_equal(classes, np.round(classes))
        assert len(classes) == min(steps, period or size)
        assert classes[0] == 0
        assert (spacing > 0).all()
        assert len(spacing) < 2 or np.ptp(spacing) <= 1
        assert period or steps == 1 or classes[-1] == size - 1
    assert traversed_values(GRID, "orientation", 100, classes=True).tolist() == list(range(39))  # 39 looks like 0


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_values_between_any_classes_have_names(name: str) -> None:
    """Past the last class that looks another, that of the first one."""
    factors = SPECIFICATIONS[name].factors
    for factor in factors.names:
        names = value_names(factors, factor, traversed_values(factors, factor, 1000))
        assert len(names) == 1000
        if factor in factors.periods:
            size = factors.sizes[factors.names.index(factor)]
            is_closed = factors.periods[factor] < size
            assert names[-1] == "≈" * is_closed + factors.value_name(factor, size - 1)


# Labels and nuisance


def test_only_the_varied_label_changes(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = decoded_latents(trainer, monkeypatch)
    traversals = traverse(trainer, REFERENCE)
    assert [traversal.factor for traversal in traversals] == list(GRID.names)
    reference = GRID.classes(np.array([REFERENCE])).astype(float)
    for column, (traversal, (labels, nuisance)) in enumerate(zip(traversals, latents, strict=True)):
        shown = traversed_values(GRID, traversal.factor)
        expected = np.repeat(reference, len(shown), axis=0)
        expected[:, column] = shown
        assert np.array_equal(labels, GRID.to_labels(expected))
        assert np.array_equal(nuisance, np.zeros(3))  # the prior's mean: labels say all there is to say
        assert traversal.value_names == value_names(GRID, traversal.factor, shown)
        assert traversal.images.shape == (len(shown), 1, SIZE, SIZE)
        assert traversal.images.dtype == np.uint8


def test_images_are_decoded_in_the_order_of_their_values(trainer: Trainer) -> None:
    classes = np.repeat(GRID.classes(np.array([REFERENCE])), 3, axis=0)
    classes[:, 0] = [0, 1, 2]
    expected = trainer.decode(GRID.to_labels(classes), np.zeros(3, np.float32))
    position, shape = traverse(trainer, REFERENCE, ["position_x", "shape"], 7, classes=True)
    assert (position.factor, shape.factor, len(position.images)) == ("position_x", "shape", 7)
    assert np.array_equal(shape.images, expected)
    assert len({image.tobytes() for image in shape.images}) == 3
    assert shape.value_names == ("square", "ellipse", "heart")
    between = traverse(trainer, REFERENCE, ["shape"])[0]
    assert np.array_equal(between.images[::2], expected)
    assert between.value_names == ("square", "≈ellipse", "ellipse", "≈heart", "heart")


def test_where_some_factors_are_observed_the_rest_is_inferred_from_the_reference(
    partial_trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = decoded_latents(partial_trainer, monkeypatch)
    traversals = traverse(partial_trainer, REFERENCE)
    assert [traversal.factor for traversal in traversals] == ["scale", "position_y"]
    inferred = partial_trainer.posterior_means(np.array([REFERENCE]))[0, 2:]
    assert inferred.shape == (3,)
    assert inferred.any()
    reference = GRID.to_labels(GRID.classes(np.array([REFERENCE])))[0, [1, 4]]
    for column, (labels, nuisance) in enumerate(latents):
        assert np.array_equal(nuisance, inferred)
        assert np.array_equal(labels[:, 1 - column], np.full(STEPS, reference[1 - column]))
        assert (np.diff(labels[:, column]) > 0).all()


def test_unknown_factor_is_named_with_those_there_are(trainer: Trainer, partial_trainer: Trainer) -> None:
    for some, names, rule in (
        (trainer, ["shape", "colour"], "shape, scale, orientation, position_x, position_y, got colour"),
        (partial_trainer, ["shape"], "scale, position_y, got shape"),
    ):
        with pytest.raises(InvalidInputError, match=f"^`factor` must be one of {rule}$"):
            traverse(some, REFERENCE, names)


# The picture


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return image


@pytest.mark.parametrize("which", ["trainer", "partial_trainer"])
def test_picture_shows_a_row_a_factor_with_the_reference_on_its_left(
    request: pytest.FixtureRequest, which: str
) -> None:
    trainer = request.getfixturevalue(which)
    image = opened(traversal_png(trainer, REFERENCE))
    traversals = traverse(trainer, REFERENCE)
    columns = 1 + max(len(traversal.images) for traversal in traversals)
    assert image.size == (GAP + columns * (SIZE + GAP), GAP + len(traversals) * (SIZE + LINE + GAP))
    pixels = np.asarray(image)
    for row, traversal in enumerate(traversals):
        top = GAP + row * (SIZE + LINE + GAP) + LINE
        for column, expected in enumerate([reference_image(trainer.dataset, REFERENCE), *traversal.images]):
            left = GAP + column * (SIZE + GAP)
            shown = pixels[top : top + SIZE, left : left + SIZE]
            assert np.array_equal(shown, np.repeat(expected[0][:, :, None], 3, axis=2))
            assert (pixels[top - LINE - 1 : top, left : left + SIZE] != 255).any()  # a word above it


def test_picture_is_the_same_again_and_leaves_training_alone(dataset: Dataset, trainer: Trainer) -> None:
    picture, again, plain = traversal_png(trainer, REFERENCE), Trainer(CONFIG, dataset), Trainer(CONFIG, dataset)
    assert traversal_png(again, REFERENCE) == picture
    assert again.train(1) == plain.train(1)
    assert traversal_png(trainer, REFERENCE + 12_345) != picture
    rng = np.random.default_rng(0)
    grey, colours = rng.integers(0, 256, (1, 64, 64), np.uint8), rng.integers(0, 256, (3, 64, 64), np.uint8)
    assert as_picture(grey).getpixel((5, 7)) == grey[0, 7, 5]
    assert as_picture(colours).getpixel((5, 7)) == tuple(colours[:, 7, 5])
