"""Which images are evaluated on, and what their codes are worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from larvae.config import MemberConfig
from larvae.datasets import Dataset, labelled_indices
from larvae.datasets.dsprites import GRID
from larvae.evaluation import evaluate, evaluation_indices, metrics_of_codes
from larvae.metrics.mig import aligned_mutual_information_gap, mutual_information_gap
from larvae.training import Trainer

NUM_IMAGES = 1000
KEYS = {
    "mig",
    "mig_y",
    "mig_aligned",
    "l2",
    "rmse_shape",
    "rmse_scale",
    "rmse_orientation",
    "rmse_position_x",
    "rmse_position_y",
}


def labelled(label_rate: float, seed: int = 0) -> np.ndarray:
    return labelled_indices(NUM_IMAGES, label_rate, seed)


@pytest.mark.parametrize("label_rate", [0.01, 0.5, 0.8])
def test_evaluation_is_on_distinct_images_outside_the_labelled_set(label_rate: float) -> None:
    indices = evaluation_indices(NUM_IMAGES, labelled(label_rate), 200, seed=0)
    assert len(np.unique(indices)) == len(indices) == 200
    assert 0 <= indices.min() <= indices.max() < NUM_IMAGES
    assert not np.isin(indices, labelled(label_rate)).any()


def test_label_rates_share_the_images_that_neither_labels() -> None:
    few, many = labelled(0.01), labelled(0.5)
    with_few, with_many = (evaluation_indices(NUM_IMAGES, known, 200, seed=0) for known in (few, many))
    shared = with_few[~np.isin(with_few, many)]
    assert 0 < len(shared) < 200
    assert np.array_equal(shared, with_many[: len(shared)])


def test_smaller_evaluations_are_part_of_larger_ones() -> None:
    small, large = (evaluation_indices(NUM_IMAGES, labelled(0.1), size, seed=0) for size in (50, 200))
    assert np.array_equal(small, large[:50])


def test_evaluation_depends_on_the_seed_alone() -> None:
    first = evaluation_indices(NUM_IMAGES, labelled(0.1), 200, seed=0)
    assert np.array_equal(evaluation_indices(NUM_IMAGES, labelled(0.1), 200, seed=0), first)
    assert not np.array_equal(evaluation_indices(NUM_IMAGES, labelled(0.1), 200, seed=1), first)


@pytest.mark.parametrize("label_rate", [0.801, 1.0])
def test_with_too_few_images_left_all_are_sampled_from(label_rate: float) -> None:
    indices = evaluation_indices(NUM_IMAGES, labelled(label_rate), 200, seed=0)
    assert len(np.unique(indices)) == 200
    assert np.isin(indices, labelled(label_rate)).any()


@pytest.fixture(scope="module")
def classes() -> np.ndarray:
    return GRID.classes(np.random.default_rng(0).choice(GRID.num_images, 5000, replace=False))


def test_perfect_labels_have_no_distance_and_the_highest_gap(classes: np.ndarray) -> None:
    noise = np.random.default_rng(1).standard_normal((len(classes), 5)).astype(np.float32)
    metrics = metrics_of_codes(np.column_stack([GRID.standardise(classes), noise]), classes, GRID)
    assert set(metrics) == KEYS
    assert all(type(value) is float for value in metrics.values())
    assert metrics["l2"] == 0
    assert all(metrics[name] == 0 for name in KEYS if name.startswith("rmse"))
    assert metrics["mig"] == pytest.approx(0.89, abs=0.015)
    assert metrics["mig_y"] >= metrics["mig"]
    assert metrics["mig_aligned"] == pytest.approx(metrics["mig"], abs=1e-9)


def test_each_gap_looks_at_its_own_dimensions(classes: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    codes = np.column_stack([GRID.standardise(classes)[:, ::-1], 0.5 * GRID.standardise(classes)])
    codes = codes + 0.3 * rng.standard_normal(codes.shape)
    metrics = metrics_of_codes(codes, classes, GRID)
    assert metrics["mig"] == mutual_information_gap(codes, classes)
    assert metrics["mig_y"] == mutual_information_gap(codes[:, :5], classes)
    assert metrics["mig_aligned"] == aligned_mutual_information_gap(codes, classes)
    assert len({metrics["mig"], metrics["mig_y"], metrics["mig_aligned"]}) == 3


def test_errors_are_in_units_of_a_factor_s_range(classes: np.ndarray) -> None:
    """One class too many, in every factor: 1/(n − 1) each."""
    codes = GRID.standardise(classes + 1)
    metrics = metrics_of_codes(codes, classes, GRID)
    steps = {name: 1 / (size - 1) for name, size in zip(GRID.names, GRID.sizes, strict=True)}
    assert {name: metrics[f"rmse_{name}"] for name in GRID.names} == pytest.approx(steps, rel=1e-5)
    assert metrics["l2"] == pytest.approx(np.sqrt(sum(step**2 for step in steps.values())), rel=1e-5)


def test_a_nuisance_changes_the_gap_only(classes: np.ndarray) -> None:
    codes = GRID.standardise(classes) + 0.2 * np.random.default_rng(3).standard_normal(classes.shape)
    alone = metrics_of_codes(codes, classes, GRID)
    beside = metrics_of_codes(np.column_stack([codes, codes]), classes, GRID)
    assert {name for name in KEYS if beside[name] != alone[name]} == {"mig", "mig_aligned"}
    assert beside["mig"] == pytest.approx(0, abs=1e-12)


def test_member_is_evaluated_on_its_posterior_means(dataset: Dataset) -> None:
    config = MemberConfig(batch_size=4, seed=3)
    trainer = Trainer(config, dataset)
    indices = evaluation_indices(dataset.num_images, trainer.labelled, 200, config.seed)
    expected = metrics_of_codes(trainer.posterior_means(indices), dataset.grid.classes(indices), dataset.grid)
    metrics = evaluate(trainer, 200)
    assert metrics == expected
    assert set(metrics) == KEYS


def test_evaluation_leaves_training_alone(dataset: Dataset) -> None:
    evaluated, plain = (Trainer(MemberConfig(batch_size=4), dataset) for _ in range(2))
    evaluated.train(1)
    evaluate(evaluated, 50)
    assert evaluated.train(1) == [plain.train(1) for _ in range(2)][-1]
    for ours, theirs in zip(evaluated.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
