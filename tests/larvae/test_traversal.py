"""Label traversals: which values are shown, what is held, and the picture of all of them."""

from __future__ import annotations

import dataclasses
import io

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
    reference_index,
    traversal_png,
    traverse,
    traverse_data,
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


# Which values


@pytest.mark.parametrize("dataset_name", SPECIFICATIONS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 40])
def test_each_factor_has_so_many_values_evenly_from_its_first_class_to_its_last(dataset_name: str, steps: int) -> None:
    """Of a factor of two classes too; a factor that goes round ends a step before its beginning."""
    factors = SPECIFICATIONS[dataset_name].factors
    for name, size in zip(factors.names, factors.sizes, strict=True):
        values = traversed_values(factors, name, steps)
        assert len(values) == steps
        assert values[0] == 0
        period = factors.periods.get(name)
        around = np.diff([*values, period] if period else values)
        assert np.allclose(around, (period / steps if period else (size - 1) / max(steps - 1, 1)))
        assert period or steps == 1 or values[-1] == size - 1


@pytest.mark.parametrize("dataset_name", SPECIFICATIONS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 40])
def test_real_classes_are_different_and_as_even_as_they_can_be(dataset_name: str, steps: int) -> None:
    factors = SPECIFICATIONS[dataset_name].factors
    for name, size in zip(factors.names, factors.sizes, strict=True):
        different = factors.periods.get(name, size)
        values = traversed_values(factors, name, steps, classes=True)
        assert np.array_equal(values, np.round(values))
        assert len(values) == min(steps, different)
        assert values[0] == 0
        assert values[-1] < different
        spacing = np.diff([*values, different] if name in factors.periods else values)
        assert (spacing > 0).all()
        assert len(spacing) < 2 or np.ptp(spacing) <= 1
        if name not in factors.periods and steps > 1:
            assert values[-1] == size - 1


def test_orientation_goes_once_around() -> None:
    """Class 39 looks like class 0: it is never shown as another one."""
    for steps in range(1, 50):
        assert traversed_values(GRID, "orientation", steps).max() < 39
        assert 39 not in traversed_values(GRID, "orientation", steps, classes=True)
    assert traversed_values(GRID, "orientation", 100, classes=True).tolist() == list(range(39))


def test_a_value_between_classes_is_named_by_the_nearest() -> None:
    names = value_names(GRID, "shape", traversed_values(GRID, "shape"))
    assert names == ("square", "≈ellipse", "ellipse", "≈heart", "heart")


def test_the_data_s_own_row_shows_the_nearest_class(dataset: Dataset) -> None:
    [shape, orientation] = traverse_data(dataset, REFERENCE, ["shape", "orientation"], 5)
    classes = np.repeat(GRID.classes(np.array([REFERENCE])), 5, axis=0)
    classes[:, 0] = [0, 1, 1, 2, 2]
    assert np.array_equal(shape.images, dataset.pictures(GRID.indices(classes)))
    classes = np.repeat(GRID.classes(np.array([REFERENCE])), 5, axis=0)
    classes[:, 2] = [0, 8, 16, 23, 31]  # 39 · k / 5
    assert np.array_equal(orientation.images, dataset.pictures(GRID.indices(classes)))
    assert orientation.value_names[:2] == ("0°", "≈74°")
    last = traverse_data(dataset, REFERENCE, ["orientation"], 100)[0]  # 38.61 is next to class 39, which is class 0
    assert np.array_equal(last.images[-1], last.images[0])


def test_values_of_chosen_factors_are_those_of_all() -> None:
    chosen = GRID.select(["orientation", "shape"])
    for name in chosen.names:
        assert np.array_equal(traversed_values(chosen, name), traversed_values(GRID, name))


# What is held


def test_only_the_varied_label_changes(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = decoded_latents(trainer, monkeypatch)
    traversals = traverse(trainer, REFERENCE)
    assert [traversal.factor for traversal in traversals] == list(GRID.names)
    reference = GRID.classes(np.array([REFERENCE])).astype(float)
    for column, (traversal, (labels, nuisance)) in enumerate(zip(traversals, latents, strict=True)):
        shown = traversed_values(GRID, traversal.factor)
        expected = np.repeat(reference, len(shown), axis=0)
        expected[:, column] = shown
        assert np.array_equal(labels, GRID.standardise(expected))
        assert np.array_equal(nuisance, np.zeros(3))  # the prior's mean: labels say all there is to say
        assert traversal.value_names == value_names(GRID, traversal.factor, shown)
        assert traversal.images.shape == (len(shown), 1, SIZE, SIZE)
        assert traversal.images.dtype == np.uint8


def test_images_are_decoded_in_the_order_of_their_values(trainer: Trainer) -> None:
    classes = np.repeat(GRID.classes(np.array([REFERENCE])), 3, axis=0)
    classes[:, 0] = [0, 1, 2]
    expected = trainer.decode(GRID.standardise(classes), np.zeros(3, np.float32))
    shape = traverse(trainer, REFERENCE, ["shape"], classes=True)[0]
    assert np.array_equal(shape.images, expected)
    assert len({image.tobytes() for image in shape.images}) == 3
    assert shape.value_names == ("square", "ellipse", "heart")
    assert np.array_equal(traverse(trainer, REFERENCE, ["shape"])[0].images[::2], expected)


def test_where_some_factors_are_observed_the_rest_is_inferred_from_the_reference(
    partial_trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = decoded_latents(partial_trainer, monkeypatch)
    traversals = traverse(partial_trainer, REFERENCE)
    assert [traversal.factor for traversal in traversals] == ["scale", "position_y"]
    inferred = partial_trainer.posterior_means(np.array([REFERENCE]))[0, 2:]
    assert inferred.shape == (3,)
    assert inferred.any()
    reference = GRID.standardise(GRID.classes(np.array([REFERENCE])))[0, [1, 4]]
    for column, (labels, nuisance) in enumerate(latents):
        assert np.array_equal(nuisance, inferred)
        assert np.array_equal(labels[:, 1 - column], np.full(STEPS, reference[1 - column]))
        assert (np.diff(labels[:, column]) > 0).all()


def test_without_a_nuisance_labels_are_decoded_alone(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for config in (CONFIG, PARTIAL):
        trainer = Trainer(dataclasses.replace(config, z_dim=0), dataset)
        latents = decoded_latents(trainer, monkeypatch)
        traverse(trainer, REFERENCE)
        assert all(nuisance.shape == (0,) for _, nuisance in latents)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_chosen_factors_and_steps(trainer: Trainer, steps: int) -> None:
    traversals = traverse(trainer, REFERENCE, ["position_x", "shape"], steps)
    assert [traversal.factor for traversal in traversals] == ["position_x", "shape"]
    assert [len(traversal.images) for traversal in traversals] == [steps, steps]
    real = traverse(trainer, REFERENCE, ["position_x", "shape"], steps, classes=True)
    assert [len(traversal.images) for traversal in real] == [steps, min(steps, 3)]


def test_unknown_factor_is_named_with_those_there_are(trainer: Trainer) -> None:
    rule = "^`factor` must be one of shape, scale, orientation, position_x, position_y, got colour$"
    with pytest.raises(InvalidInputError, match=rule):
        traverse(trainer, REFERENCE, ["shape", "colour"])


def test_factor_without_a_label_cannot_be_varied(partial_trainer: Trainer) -> None:
    with pytest.raises(InvalidInputError, match=r"^`factor` must be one of scale, position_y, got shape$"):
        traverse(partial_trainer, REFERENCE, ["shape"])


# Reference


def test_reference_image_is_the_data_set_s(dataset: Dataset) -> None:
    image = reference_image(dataset, REFERENCE)
    assert image.shape == (1, SIZE, SIZE)
    assert image.dtype == np.uint8
    assert np.array_equal(image, 255 * dataset.images(np.array([REFERENCE]))[0])
    assert set(np.unique(image)) == {0, 255}


def test_reference_depends_on_the_seed_alone() -> None:
    indices = [reference_index(GRID.num_images, seed) for seed in range(20)]
    assert indices == [reference_index(GRID.num_images, seed) for seed in range(20)]
    assert len(set(indices)) == 20
    assert all(0 <= index < GRID.num_images for index in indices)
    assert {reference_index(3, seed) for seed in range(50)} == {0, 1, 2}


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


def test_picture_is_the_same_again(dataset: Dataset, trainer: Trainer) -> None:
    picture = traversal_png(trainer, REFERENCE)
    assert traversal_png(trainer, REFERENCE) == picture
    assert traversal_png(Trainer(CONFIG, dataset), REFERENCE) == picture
    assert traversal_png(trainer, REFERENCE + 12_345) != picture


def test_pictures_leave_training_alone(dataset: Dataset, trainer: Trainer) -> None:
    looked_at, plain = Trainer(CONFIG, dataset), Trainer(CONFIG, dataset)
    traversal_png(looked_at, REFERENCE)
    assert looked_at.train(2) == plain.train(2)


def test_images_as_pictures() -> None:
    rng = np.random.default_rng(0)
    grey, colours = rng.integers(0, 256, (1, 64, 64), np.uint8), rng.integers(0, 256, (3, 64, 64), np.uint8)
    assert as_picture(grey).getpixel((5, 7)) == grey[0, 7, 5]
    assert as_picture(colours).getpixel((5, 7)) == tuple(colours[:, 7, 5])
    assert as_picture(grey).size == as_picture(colours).size == (64, 64)
