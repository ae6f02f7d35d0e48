"""Which images are evaluated on, and what their codes are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from larvae.config import METRICS, MemberConfig, applicable
from larvae.datasets import SPECIFICATIONS, Dataset, labelled_indices
from larvae.datasets.dsprites import GRID
from larvae.datasets.factors import FactorGrid, Factors
from larvae.errors import NonFiniteLossError
from larvae.evaluation import Sample, evaluate, evaluation_indices, metrics_of_sample
from larvae.metrics.mig import aligned_mutual_information_gap, mutual_information_gap
from larvae.training import Trainer

NUM_IMAGES = 1000
QUICK = ("mig", "l2")
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


@pytest.mark.parametrize("label_rate", [0.801, 0.9, 1.0])
def test_where_too_few_are_unlabelled_those_come_first_and_others_fill_up(label_rate: float) -> None:
    indices = evaluation_indices(NUM_IMAGES, labelled(label_rate), 200, seed=0)
    assert len(np.unique(indices)) == 200
    num_unlabelled = NUM_IMAGES - len(labelled(label_rate))
    assert num_unlabelled < 200
    assert np.isin(indices, labelled(label_rate)).tolist() == num_unlabelled * [False] + (200 - num_unlabelled) * [True]


def test_a_second_sample_repeats_the_first_only_when_all_else_is_used_up() -> None:
    known = labelled(0.9)
    first = evaluation_indices(NUM_IMAGES, known, 400, seed=0)
    taken = np.concatenate([known, first])
    for size, repeated in ((NUM_IMAGES - 400, 0), (NUM_IMAGES - 390, 10)):
        second = evaluation_indices(NUM_IMAGES, taken, size, 0, first)
        assert np.isin(second, first).sum() == repeated


# Metrics of codes


def sample_of(
    codes: np.ndarray, classes: np.ndarray, factors: FactorGrid = GRID, observed: Sequence[str] = ()
) -> Sample:
    """Two thirds to learn on, a third to score on."""
    split = len(codes) * 2 // 3
    names = observed or factors.names
    return Sample(
        codes=codes[:split],
        classes=classes[:split],
        label_columns=factors.columns(names),
        labels=factors.select(names),
        test_codes=codes[split:],
        test_classes=classes[split:],
    )


def quick_metrics(codes: np.ndarray, classes: np.ndarray, observed: Sequence[str] = ()) -> dict[str, float]:
    """MIG and ℓ2 of all codes."""
    sample = sample_of(codes, classes, GRID, observed)
    return metrics_of_sample(sample._replace(codes=codes, classes=classes), QUICK, seed=0)


@pytest.fixture(scope="module")
def classes() -> np.ndarray:
    return GRID.classes(np.random.default_rng(0).choice(GRID.num_images, 5000, replace=False))


def test_perfect_labels_have_no_distance_and_the_highest_gap(classes: np.ndarray) -> None:
    noise = np.random.default_rng(1).standard_normal((len(classes), 5)).astype(np.float32)
    metrics = quick_metrics(np.column_stack([GRID.standardise(classes), noise]), classes)
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
    metrics = quick_metrics(codes, classes)
    assert metrics["mig"] == mutual_information_gap(codes, classes)
    assert metrics["mig_y"] == mutual_information_gap(codes[:, :5], classes)
    assert metrics["mig_aligned"] == aligned_mutual_information_gap(codes, classes)
    assert len({metrics["mig"], metrics["mig_y"], metrics["mig_aligned"]}) == 3


def test_errors_are_in_units_of_a_factor_s_range(classes: np.ndarray) -> None:
    """One class too many, in every factor: 1/(n − 1) each."""
    codes = GRID.standardise(classes + 1)
    metrics = quick_metrics(codes, classes)
    steps = {name: 1 / (size - 1) for name, size in zip(GRID.names, GRID.sizes, strict=True)}
    assert {name: metrics[f"rmse_{name}"] for name in GRID.names} == pytest.approx(steps, rel=1e-5)
    assert metrics["l2"] == pytest.approx(np.sqrt(sum(step**2 for step in steps.values())), rel=1e-5)


def test_a_nuisance_changes_the_gap_only(classes: np.ndarray) -> None:
    codes = GRID.standardise(classes) + 0.2 * np.random.default_rng(3).standard_normal(classes.shape)
    alone = quick_metrics(codes, classes)
    beside = quick_metrics(np.column_stack([codes, codes]), classes)
    assert {name for name in KEYS if beside[name] != alone[name]} == {"mig", "mig_aligned"}
    assert beside["mig"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("observed", [("shape", "position_x"), ("orientation",)])
def test_gap_is_over_all_factors_and_labels_over_the_observed_ones(
    classes: np.ndarray, observed: tuple[str, ...]
) -> None:
    columns = GRID.columns(observed)
    rng = np.random.default_rng(4)
    labels = GRID.standardise(classes)[:, columns] + 0.2 * rng.standard_normal((len(classes), len(columns)))
    codes = np.column_stack([labels, GRID.standardise(classes)[:, ::-1] + 0.5 * rng.standard_normal(classes.shape)])
    metrics = quick_metrics(codes, classes, observed)
    assert set(metrics) == {"mig", "mig_y", "mig_aligned", "l2", *(f"rmse_{name}" for name in observed)}
    assert metrics["mig"] == mutual_information_gap(codes, classes)
    assert metrics["mig_y"] == mutual_information_gap(labels, classes[:, columns])
    assert metrics["mig_aligned"] == aligned_mutual_information_gap(codes, classes[:, columns])
    errors = 0.2 * (GRID.standard_deviations / (np.array(GRID.sizes) - 1))[columns]
    assert [metrics[f"rmse_{name}"] for name in observed] == pytest.approx(errors, rel=0.1)
    # E‖ε‖ lies below the root of E‖ε‖², and not far
    assert 0.7 * np.linalg.norm(errors) < metrics["l2"] < 1.05 * np.linalg.norm(errors)


SMALL = FactorGrid(names=GRID.names, sizes=(3, 2, 2, 3, 2))
"""A few images of the same factors."""


@pytest.fixture(scope="module")
def noisy_sample() -> Sample:
    classes = SMALL.classes(np.random.default_rng(5).integers(SMALL.num_images, size=240))
    codes = SMALL.standardise(classes) + 0.9 * np.random.default_rng(6).standard_normal(classes.shape)
    return sample_of(codes, classes, SMALL)


@pytest.fixture(scope="module")
def all_metrics(noisy_sample: Sample) -> dict[str, float]:
    return metrics_of_sample(noisy_sample, METRICS, seed=0)


def test_all_metrics_have_names_and_values(all_metrics: dict[str, float]) -> None:
    dci = {"dci_disentanglement", "dci_completeness", "dci_informativeness"}
    assert set(all_metrics) == KEYS | dci | {"factor_vae_score", "beta_vae_score", "sap", "modularity"}
    assert all(type(value) is float for value in all_metrics.values())
    scores = {name: value for name, value in all_metrics.items() if name not in KEYS}
    assert {name: value for name, value in scores.items() if not 0 < value < 1} == {}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_does_not_depend_on_which_others_are_computed(
    noisy_sample: Sample, all_metrics: dict[str, float], name: str
) -> None:
    alone = metrics_of_sample(noisy_sample, [name], seed=0)
    assert alone
    assert alone == {key: all_metrics[key] for key in alone}
    reversed_order = metrics_of_sample(noisy_sample, [*QUICK[::-1], name], seed=0)
    assert reversed_order == {key: all_metrics[key] for key in reversed_order}


@pytest.mark.parametrize("name", ["factor_vae_score", "beta_vae_score", "sap"])
def test_metrics_that_learn_are_scored_on_the_other_sample(noisy_sample: Sample, name: str) -> None:
    rng = np.random.default_rng(7)
    unlearnable = noisy_sample._replace(test_codes=rng.permuted(noisy_sample.test_codes, axis=0))
    score, without = (metrics_of_sample(s, [name], seed=0)[name] for s in (noisy_sample, unlearnable))
    assert without < score


def test_random_metrics_depend_on_the_seed(noisy_sample: Sample, all_metrics: dict[str, float]) -> None:
    name = "factor_vae_score"
    assert metrics_of_sample(noisy_sample, [name], seed=1)[name] != all_metrics[name]


# What is computed where


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_only_the_distance_applies_where_factors_depend_on_each_other(name: str) -> None:
    independent = name != "celeba"
    assert applicable(METRICS, SPECIFICATIONS[name]) == (METRICS if independent else ("l2",))
    assert applicable(("dci", "l2", "mig"), SPECIFICATIONS[name]) == (("dci", "l2", "mig") if independent else ("l2",))
    assert applicable((), SPECIFICATIONS[name]) == ()


class FewImages:
    """Images of dSprites and what they show."""

    maximum = 1
    fingerprint = "few"

    def __init__(self, dataset: Dataset, classes: np.ndarray) -> None:
        self.dataset = dataset
        self.known_classes = classes

    def images(self, indices: np.ndarray) -> np.ndarray:
        spread = self.known_classes[indices] * [1, 5, 13, 15, 31]
        return self.dataset.images(GRID.indices(spread))

    def classes(self, indices: np.ndarray) -> np.ndarray:
        return self.known_classes[indices]


def few_images(dataset: Dataset, factors: Factors = SMALL) -> Dataset:
    """All 72 combinations of `SMALL`, of factors that are a grid or not."""
    classes = SMALL.classes(np.arange(SMALL.num_images))
    specification = dataclasses.replace(SPECIFICATIONS["dsprites"], factors=factors, num_images=SMALL.num_images)
    return Dataset(specification, FewImages(dataset, classes))


def test_dependent_factors_have_a_distance_only(dataset: Dataset) -> None:
    trainer = Trainer(TINY, few_images(dataset, Factors(SMALL.names, SMALL.sizes)))
    metrics = evaluate(trainer, 40, METRICS)
    assert set(metrics) == {name for name in KEYS if name.startswith(("l2", "rmse"))}
    assert evaluate(trainer, 40, ["mig", "dci"]) == {}
    independent = evaluate(Trainer(TINY, few_images(dataset)), 40, ["l2"])
    assert metrics == independent


@pytest.mark.parametrize(("label_rate", "size"), [(0.1, 40), (0.1, 10_000), (0.7, 40), (1.0, 40)])
def test_data_sets_smaller_than_an_evaluation_are_evaluated(dataset: Dataset, label_rate: float, size: int) -> None:
    trainer = Trainer(dataclasses.replace(TINY, label_rate=label_rate), few_images(dataset))
    metrics = evaluate(trainer, size, ["mig", "l2", "factor_vae_score", "sap", "modularity"])
    assert all(np.isfinite(value) for value in metrics.values())
    assert {"mig", "l2", "factor_vae_score", "sap", "modularity"} <= metrics.keys()


# Members

TINY = MemberConfig(batch_size=4, seed=3)


def encoded_indices(trainer: Trainer, size: int, metrics: Sequence[str]) -> np.ndarray:
    """Which images an evaluation looks at, in its order."""
    seen = []
    posterior_means = trainer.posterior_means

    def recorded(indices: np.ndarray) -> np.ndarray:
        seen.append(indices)
        return posterior_means(indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "posterior_means", recorded)
        evaluate(trainer, size, metrics)
    return np.concatenate(seen)


@pytest.mark.parametrize("label_rate", [0.001, 0.5])
def test_test_sample_is_of_other_images_than_the_labelled_and_the_first_sample(
    dataset: Dataset, label_rate: float
) -> None:
    trainer = Trainer(dataclasses.replace(TINY, label_rate=label_rate), dataset)
    seen = encoded_indices(trainer, 201, ["l2", "factor_vae_score"])
    assert len(np.unique(seen)) == len(seen) == 201 + 100
    assert np.array_equal(seen[:201], evaluation_indices(dataset.num_images, trainer.labelled, 201, TINY.seed))
    assert not np.isin(seen, trainer.labelled).any()


def test_metrics_of_one_sample_encode_no_other(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    assert len(encoded_indices(trainer, 201, ["mig", "l2", "modularity"])) == 201


def test_samples_are_disjoint_in_a_small_data_set_that_has_room_for_both(dataset: Dataset) -> None:
    trainer = Trainer(dataclasses.replace(TINY, label_rate=0.1), few_images(dataset))
    seen = encoded_indices(trainer, 40, ["sap"])
    assert len(np.unique(np.concatenate([seen, trainer.labelled]))) == 40 + 20 + len(trainer.labelled)


@pytest.mark.parametrize("label_rate", [0.5, 0.6, 1.0])
def test_samples_share_no_image_while_there_are_enough(dataset: Dataset, label_rate: float) -> None:
    """With all but a few images labelled, samples take from the labelled ones, yet not the same ones."""
    trainer = Trainer(dataclasses.replace(TINY, label_rate=label_rate), few_images(dataset))
    seen = encoded_indices(trainer, 40, ["sap"])
    assert len(np.unique(seen)) == len(seen) == 40 + 20


def test_member_is_evaluated_on_its_posterior_means(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    indices = evaluation_indices(dataset.num_images, trainer.labelled, 200, TINY.seed)
    expected = quick_metrics(trainer.posterior_means(indices), dataset.factors.classes(indices))
    metrics = evaluate(trainer, 200, QUICK)
    assert metrics == expected
    assert set(metrics) == KEYS


def test_member_with_observed_factors_is_evaluated_on_these(dataset: Dataset) -> None:
    observed = ("shape", "position_x")
    trainer = Trainer(dataclasses.replace(TINY, observed_factors=observed), dataset)
    indices = evaluation_indices(dataset.num_images, trainer.labelled, 200, TINY.seed)
    codes = trainer.posterior_means(indices)
    assert codes.shape == (200, 2 + 5)
    metrics = evaluate(trainer, 200, QUICK)
    assert metrics == quick_metrics(codes, dataset.factors.classes(indices), observed)
    assert {name for name in metrics if name.startswith("rmse")} == {"rmse_shape", "rmse_position_x"}


def test_evaluation_leaves_training_alone(dataset: Dataset) -> None:
    evaluated, plain = (Trainer(MemberConfig(batch_size=4), dataset) for _ in range(2))
    evaluated.train(1)
    evaluate(evaluated, 50, [*QUICK, "factor_vae_score"])
    assert evaluated.train(1) == [plain.train(1) for _ in range(2)][-1]
    for ours, theirs in zip(evaluated.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_codes_that_are_not_finite_are_a_failed_member(dataset: Dataset) -> None:
    trainer = Trainer(TINY, dataset)
    with torch.no_grad():
        trainer.model.encoder[-1].bias.fill_(np.nan)
    with pytest.raises(NonFiniteLossError, match=r"^posterior means not finite at iteration 0$"):
        evaluate(trainer, 50, QUICK)
