"""The error of label traversals, of decoders that draw the data set's own images and of ones that ignore a label."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.datasets.factors import FactorGrid, Factors
from larvae.errors import InvalidInputError
from larvae.evaluation import evaluate, evaluation_indices
from larvae.metrics.sample import OnDemand, Sample
from larvae.metrics.traversal_error import other_classes, scores
from larvae.training import Trainer
from larvae.traversal import traverse, traverse_data
from tests.larvae.test_evaluation import SMALL, few_images

GRID = FactorGrid(names=("row", "column", "shade"), sizes=(8, 4, 3))
TINY = MemberConfig(batch_size=4, label_rate=0.5)
Images = NDArray[np.uint8]


def drawn(classes: NDArray[np.integer]) -> Images:
    """An 8×8 image, from one white pixel in the row and column of its classes to a darker one."""
    images = np.zeros((len(classes), 1, 8, 8), np.uint8)
    images[np.arange(len(classes)), 0, classes[:, 0], classes[:, 1]] = 255 - 100 * classes[:, 2]
    return images


def sample(observed: tuple[str, ...], ignored: tuple[str, ...] = ()) -> Sample:
    """Inferred perfectly, and decoded as it is drawn, but for labels that are ignored: class 0 is drawn of them."""
    classes = GRID.classes(np.arange(GRID.num_images))
    columns = GRID.columns(observed)
    others = [column for column in range(GRID.num_factors) if column not in columns]
    labels = GRID.select(observed)

    def decode(given: NDArray[np.float32], nuisance: NDArray[np.float32]) -> Images:
        values = np.zeros((len(given), GRID.num_factors), int)
        values[:, columns] = np.round(labels.to_unit_interval(given) * (np.array(labels.sizes) - 1))
        assert nuisance.any() == bool(others)
        values[:, others] = nuisance[:, : len(others)]
        values[:, GRID.columns(ignored)] = 0
        return drawn(values)

    def unasked() -> NDArray[np.float32]:
        raise AssertionError("no log-variances were asked for")

    codes = np.column_stack([labels.to_labels(classes[:, columns]), classes[:, others], classes[:, :1]])
    return Sample(
        codes.astype(np.float32), classes, columns, labels, codes[:0], classes[:0],
        on_demand=OnDemand(unasked, decode, drawn),
    )  # fmt: skip


@pytest.mark.parametrize("observed", [GRID.names, ("column",), ("row", "shade")], ids=str)
def test_a_decoder_that_draws_what_the_labels_say_makes_no_error(observed: tuple[str, ...]) -> None:
    """With z at 0 where labels say all, though it is inferred to be something else, and inferred where they do not."""
    values = scores(sample(observed), np.random.default_rng(0))
    assert values == dict.fromkeys(["traversal_error", *(f"traversal_error_{name}" for name in observed)], 0.0)
    assert all(type(value) is float for value in values.values())


def test_error_of_ignored_labels_by_hand() -> None:
    """An image's own shade is drawn as the lightest: 100/255 or 200/255 off at one of 64 pixels."""
    values = scores(sample(GRID.names, ignored=("shade",)), np.random.default_rng(0))
    lowest, highest = np.square(np.array([100, 200]) / 255) / 64
    assert lowest < values["traversal_error_shade"] < highest
    # of a row or column's reference a third has shade 0, 1 and 2 each
    assert values["traversal_error_row"] == pytest.approx((lowest + highest) / 3, rel=0.3)
    assert values["traversal_error_row"] == values["traversal_error_column"]  # of the same references
    mean = values.pop("traversal_error")
    assert mean == pytest.approx(np.mean(list(values.values())))
    misplaced = scores(sample(GRID.names, ignored=("row",)), np.random.default_rng(0))
    assert misplaced["traversal_error_row"] > highest  # two pixels, unless the row is 0


def test_another_class_is_any_but_the_own_one() -> None:
    column = np.tile(np.arange(3), 500)
    drawn_classes = other_classes(column, 3, np.random.default_rng(0))
    shares = np.bincount(3 * column + drawn_classes, minlength=9).reshape(3, 3) / 500
    assert shares == pytest.approx((1 - np.eye(3)) / 2, abs=0.08)
    assert (shares.diagonal() == 0).all()
    assert other_classes(np.array([0, 1]), 2, np.random.default_rng(0)).tolist() == [1, 0]


# Members


@pytest.mark.parametrize("observed", [(), ("scale", "position_x")], ids=["all", "some"])
def test_errors_are_those_of_label_traversals(dataset: Dataset, observed: tuple[str, ...]) -> None:
    """Of a factor of two classes, whose other one is known, all images decoded as traversals decode them."""
    known = few_images(dataset)
    trainer = Trainer(dataclasses.replace(TINY, observed_factors=observed), known)
    values = evaluate(trainer, 12, ["traversal_error"])
    names = observed or SMALL.names
    assert values.keys() == {"traversal_error", *(f"traversal_error_{name}" for name in names)}
    references = evaluation_indices(
        known.num_images, trainer.sampler.labelled, 12, TINY.seed
    )  # fewer than NUM_REFERENCES
    errors = []
    for reference, other in zip(references.tolist(), 1 - known.classes(references)[:, 1], strict=True):
        (ours,) = traverse(trainer, reference, ["scale"], 2, classes=True)
        (own,) = traverse_data(known, reference, ["scale"], 2, classes=True)
        errors.append(np.square((ours.images[other].astype(float) - own.images[other]) / 255).mean())
    assert values["traversal_error_scale"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_data_without_a_full_grid_has_none_and_codes_alone_cannot_be_decoded(dataset: Dataset) -> None:
    known = few_images(dataset, Factors(SMALL.names, SMALL.sizes))
    assert evaluate(Trainer(TINY, known), 40, ["traversal_error"]) == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("larvae.evaluation.applicable", lambda metrics, _: tuple(metrics))
        with pytest.raises(InvalidInputError, match=r"^[^\n]*all combinations of factors[^\n]*got dsprites$"):
            evaluate(Trainer(TINY, known), 40, ["traversal_error"])
    whole = sample(GRID.names)
    with pytest.raises(ValueError, match="codes alone"):
        scores(Sample(*whole[:6]), np.random.default_rng(0))
