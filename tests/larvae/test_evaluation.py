"""Samples of an evaluation, and metrics of their codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import evaluation
from larvae.config import MemberConfig
from larvae.datasets import SPECIFICATIONS, Dataset, labelled_indices
from larvae.datasets.dsprites import GRID
from larvae.datasets.factors import FactorGrid, Factors
from larvae.evaluation import evaluate, evaluation_indices, metrics_of_sample
from larvae.metrics import METRICS, SCORES
from larvae.metrics.l2 import label_distance
from larvae.metrics.mig import aligned_mutual_information_gap, mutual_information_gap
from larvae.metrics.sample import OnDemand, Sample
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
OF_LABELS = KEYS | {f"{name}_{factor}" for name in ("leak", "traversal_error") for factor in GRID.names}
"""Keys that are no score's, or one of each label."""


def labelled(label_rate: float, seed: int = 0) -> np.ndarray:
    return labelled_indices(NUM_IMAGES, label_rate, seed)


def test_evaluation_is_on_distinct_images_outside_the_labelled_set() -> None:
    """The same for all members of a seed; smaller evaluations are part of larger ones."""
    for label_rate in (0.01, 0.5, 0.8):
        indices = evaluation_indices(NUM_IMAGES, labelled(label_rate), 200, seed=0)
        assert len(np.unique(indices)) == len(indices) == 200
        assert 0 <= indices.min() <= indices.max() < NUM_IMAGES
        assert not np.isin(indices, labelled(label_rate)).any()
        assert np.array_equal(evaluation_indices(NUM_IMAGES, labelled(label_rate), 50, seed=0), indices[:50])
        assert not np.array_equal(evaluation_indices(NUM_IMAGES, labelled(label_rate), 200, seed=1), indices)


def test_where_too_few_are_unlabelled_those_come_first_and_others_fill_up() -> None:
    for label_rate in (0.801, 0.9, 1.0):
        indices = evaluation_indices(NUM_IMAGES, labelled(label_rate), 200, seed=0)
        assert len(np.unique(indices)) == 200
        unlabelled = NUM_IMAGES - len(labelled(label_rate))
        assert unlabelled < 200
        assert np.isin(indices, labelled(label_rate)).tolist() == unlabelled * [False] + (200 - unlabelled) * [True]


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


@pytest.mark.parametrize("observed", [("shape", "position_x"), ("orientation",), GRID.names], ids=len)
def test_gap_is_over_all_factors_and_labels_over_the_observed_ones(
    classes: np.ndarray, observed: tuple[str, ...]
) -> None:
    columns = GRID.columns(observed)
    rng = np.random.default_rng(4)
    labels = GRID.to_labels(classes)[:, columns] + 0.2 * rng.standard_normal((len(classes), len(columns)))
    codes = np.column_stack([labels, GRID.to_labels(classes)[:, ::-1] + 0.5 * rng.standard_normal(classes.shape)])
    metrics = quick_metrics(codes, classes, observed)
    assert set(metrics) == {"mig", "mig_y", "mig_aligned", "l2", *(f"rmse_{name}" for name in observed)}
    assert all(type(value) is float for value in metrics.values())
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
    codes = SMALL.to_labels(classes) + 0.9 * np.random.default_rng(6).standard_normal(classes.shape)
    sample = sample_of(np.column_stack([codes, codes[:, ::-1].sum(axis=1)]), classes, SMALL)
    decoding = OnDemand(
        log_variances=lambda: np.full(sample.codes.shape, -2.0),
        decode=lambda labels, _: np.full((len(labels), 1, 64, 64), 127, np.uint8),
        pictures=lambda classes: np.full((len(classes), 1, 64, 64), 255, np.uint8),
    )
    return sample._replace(on_demand=decoding)


@pytest.fixture(scope="module")
def all_metrics(noisy_sample: Sample) -> dict[str, float]:
    return metrics_of_sample(noisy_sample, METRICS, seed=0)


def test_all_metrics_have_names_and_values(noisy_sample: Sample, all_metrics: dict[str, float]) -> None:
    assert set(all_metrics) == OF_LABELS | set(SCORES)
    assert all(type(value) is float for value in all_metrics.values())
    scores = {name: value for name, value in all_metrics.items() if name not in KEYS}
    assert {name: value for name, value in scores.items() if not 0 < value < 1} == {}
    another_seed = metrics_of_sample(noisy_sample, ["factor_vae_score"], seed=1)
    assert another_seed["factor_vae_score"] != all_metrics["factor_vae_score"]


def test_a_metric_does_not_depend_on_which_others_are_computed(
    noisy_sample: Sample, all_metrics: dict[str, float]
) -> None:
    for names in (
        ["factor_vae_score"],
        ["beta_vae_score", "mig"],
        [name for name in reversed(METRICS) if name != "dci"],
    ):
        some = metrics_of_sample(noisy_sample, names, seed=0)
        assert some == {key: all_metrics[key] for key in some}


def test_metrics_that_learn_are_scored_on_the_other_sample(noisy_sample: Sample, all_metrics: dict[str, float]) -> None:
    rng = np.random.default_rng(7)
    unlearnable = noisy_sample._replace(test_codes=rng.permuted(noisy_sample.test_codes, axis=0))
    for name in ("factor_vae_score", "beta_vae_score", "sap"):
        assert metrics_of_sample(unlearnable, [name], seed=0)[name] < all_metrics[name]


# Applicable metrics


class FewImages:
    """Images of dSprites and what they show."""

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
    metrics = evaluate(Trainer(TINY, few_images(dataset, Factors(SMALL.names, SMALL.sizes))), 40, METRICS)
    assert set(metrics) == {name for name in KEYS if name.startswith(("l2", "rmse"))}
    assert metrics == evaluate(Trainer(TINY, few_images(dataset)), 40, ["l2"])


# Members

TINY = MemberConfig(batch_size=4, seed=3)


def encoded_indices(trainer: Trainer, size: int, metrics: Sequence[str]) -> np.ndarray:
    """Indices of the images an evaluation looks at, in its order."""
    seen = []
    posterior_means = trainer.posterior_means

    def recorded(indices: np.ndarray) -> np.ndarray:
        seen.append(indices)
        return posterior_means(indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "posterior_means", recorded)
        evaluate(trainer, size, metrics)
    return np.concatenate(seen)


def test_test_sample_is_of_other_images_than_the_labelled_and_the_first_sample(dataset: Dataset) -> None:
    """Labels that are held out are labels all the same, and how many there are changes no sample."""
    seen = []
    for held_out in (0.0, 0.2):
        trainer = Trainer(dataclasses.replace(TINY, label_rate=0.001, held_out=held_out), dataset)
        known = np.concatenate([trainer.sampler.labelled, trainer.sampler.held_out])
        seen.append(encoded_indices(trainer, 61, ["l2", "factor_vae_score"])[-61 - 30 :])
        assert len(np.unique(seen[-1])) == 61 + 30
        assert np.array_equal(seen[-1][:61], evaluation_indices(dataset.num_images, known, 61, TINY.seed))
        assert not np.isin(seen[-1], known).any()
        assert len(encoded_indices(trainer, 61, ["mig", "l2", "modularity"])) == 61
    assert np.array_equal(*seen)
    config = dataclasses.replace(TINY, label_rate=0.5, held_out=0.5)  # 36 of 72 images: there is room for 36 others
    trainer = Trainer(config, few_images(dataset))
    others = encoded_indices(trainer, 24, ["factor_vae_score"])[-36:]
    assert len(np.unique(np.concatenate([others, trainer.sampler.labelled, trainer.sampler.held_out]))) == 72


@pytest.mark.parametrize("observed", [(), ("shape", "position_x")], ids=["all", "some"])
def test_member_is_evaluated_on_its_posterior_means(dataset: Dataset, observed: tuple[str, ...]) -> None:
    trainer = Trainer(dataclasses.replace(TINY, observed_factors=observed), dataset)
    indices = evaluation_indices(dataset.num_images, trainer.sampler.labelled, 100, TINY.seed)
    codes = trainer.posterior_means(indices)
    assert codes.shape == (100, (len(observed) or 5) + 5)
    metrics = evaluate(trainer, 100, QUICK)
    assert metrics == quick_metrics(codes, dataset.factors.classes(indices), observed)
    assert {name for name in metrics if name.startswith("rmse")} == {f"rmse_{n}" for n in observed or GRID.names}


def test_data_sets_smaller_than_an_evaluation_are_evaluated(dataset: Dataset) -> None:
    """With all but a few images labelled, samples take from the labelled ones, yet not the same ones."""
    for label_rate in (0.1, 0.5, 1.0):
        trainer = Trainer(dataclasses.replace(TINY, label_rate=label_rate), few_images(dataset))
        seen = encoded_indices(trainer, 40, ["sap"])
        assert len(np.unique(seen)) == len(seen) == 40 + 20
        assert np.isin(trainer.sampler.labelled, seen).any() == (label_rate > 0.1)
    metrics = evaluate(trainer, 10_000, ["mig", "l2", "factor_vae_score"])
    assert {"mig", "l2", "factor_vae_score"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())


def test_several_samples_give_means_and_the_metrics_own_noise(dataset: Dataset) -> None:
    """The first is the one that is taken alone; all are of images without labels, and none is of another's."""
    trainer = Trainer(MemberConfig(batch_size=4, label_rate=0.001), dataset)
    alone, three = (evaluate(trainer, 300, ["mig", "l2"], count) for count in (1, 3))
    assert three.keys() == alone.keys() | {f"{name}_sd" for name in alone}
    assert all(three[f"{name}_sd"] > 0 for name in alone)
    samples = [evaluation_indices(dataset.num_images, trainer.sampler.labelled, 300, 0, number=n) for n in range(3)]
    assert not set(np.concatenate(samples)) & set(trainer.sampler.labelled)
    assert len({tuple(sorted(sample)) for sample in samples}) == 3
    singles = [label_distance_of(trainer, indices) for indices in samples]
    assert singles[0] == alone["l2"]
    assert three["l2"] == pytest.approx(np.mean(singles))
    assert three["l2_sd"] == pytest.approx(np.std(singles, ddof=1))


def test_a_value_that_some_samples_lack_is_the_mean_of_the_others(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `leak_shape` of a sample of one shape."""
    found = iter([{"leak": 0.1}, {"leak": 0.3, "leak_shape": 0.5}, {"leak": 0.2, "leak_shape": 0.7}])
    monkeypatch.setattr(evaluation, "metrics_of_sample", lambda *_: next(found))
    trainer = Trainer(TINY, dataset)
    assert evaluate(trainer, 10, ["leak"], 3) == pytest.approx(
        {"leak": 0.2, "leak_sd": 0.1, "leak_shape": 0.6, "leak_shape_sd": 0.1 * 2**0.5}
    )
    found = iter([{"leak": 0.1}, {"leak": 0.3, "leak_shape": 0.5}])
    assert "leak_shape_sd" not in evaluate(trainer, 10, ["leak"], 2)


def label_distance_of(trainer: Trainer, indices: NDArray[np.integer]) -> float:
    means = trainer.posterior_means(indices)[:, : trainer.sampler.labels.num_factors]
    labels = trainer.sampler.labels.to_labels(trainer.sampler.label_classes(indices))
    return label_distance(
        trainer.sampler.labels.to_unit_interval(means), trainer.sampler.labels.to_unit_interval(labels)
    )
