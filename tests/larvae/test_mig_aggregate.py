"""Aggregate posteriors' mutual information and MIG, against closed forms and the definition in loops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from larvae import training
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.evaluation import evaluate
from larvae.metrics import mig_aggregate
from larvae.metrics.mig_aggregate import aggregate_information, aggregate_mutual_information_gap, log_density
from larvae.together.group import Group
from larvae.training import Trainer
from tests.larvae.representations import Classes, Codes, combinations
from tests.larvae.test_evaluation import few_images

TINY = MemberConfig(batch_size=4, label_rate=0.5)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def information(means: Codes, deviations: object, classes: Classes) -> NDArray[np.float64]:
    """In nats, [dimension, factor]."""
    log_variances = 2 * np.log(np.broadcast_to(np.asarray(deviations, float), means.shape))
    return aggregate_information(means, log_variances, classes, rng())[0]


# The definition


def log_normal(value: float, mean: float, log_variance: float) -> float:
    return -0.5 * ((value - mean) ** 2 * math.exp(-log_variance) + log_variance + math.log(2 * math.pi))


def textbook(
    means: Codes, log_variances: Codes, classes: Classes, samples: Codes, chosen: list[int]
) -> list[list[float]]:
    """Entropy less conditional entropy, each from densities of samples of the chosen images."""

    def entropy(j: int, of: list[int], images: list[int]) -> float:
        total = 0.0
        for i in of:
            z = samples[chosen.index(i), j]
            density = sum(math.exp(log_normal(z, means[n, j], log_variances[n, j])) for n in images) / len(images)
            total -= math.log(density)
        return total

    everything, rows = list(range(len(means))), []
    for j in range(means.shape[1]):
        row = []
        for column in classes.T:
            conditional = sum(
                entropy(j, [i for i in chosen if column[i] == v], [n for n in everything if column[n] == v])
                for v in set(column.tolist())
            )
            row.append(max((entropy(j, chosen, everything) - conditional) / len(chosen), 0.0))
        rows.append(row)
    return rows


@pytest.mark.parametrize("num_samples", [25, 1000])
def test_information_is_the_textbooks(num_samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    classes = generator.integers([2, 5], size=(60, 2))
    means = classes @ np.array([[1.0, 0.0, 0.3], [0.0, 0.4, 0.2]]) + 0.5 * generator.standard_normal((60, 3))
    log_variances = generator.uniform(-5, 1, means.shape)
    found, entropies = aggregate_information(means, log_variances, classes, rng(), num_samples)
    same = rng()
    chosen = same.choice(60, min(num_samples, 60), replace=False)
    noise = same.standard_normal((len(chosen), 3))
    samples = means[chosen] + np.exp(log_variances[chosen] / 2) * noise
    assert found == pytest.approx(np.array(textbook(means, log_variances, classes, samples, chosen.tolist())))
    shares = [np.bincount(column)[column] / 60 for column in classes.T]
    assert entropies == pytest.approx([-np.log(share[chosen]).mean() for share in shares])
    monkeypatch.setattr(mig_aggregate, "BLOCK", 100)  # a sample or two at a time
    assert aggregate_information(means, log_variances, classes, rng(), num_samples)[0] == pytest.approx(found)


# Closed forms

CLASSES = np.repeat(combinations(4, 2, 3), 20, axis=0)
"""480 images; all combinations are equally frequent."""


def test_narrow_posteriors_at_class_dependent_means_know_the_factor() -> None:
    first, second, third = CLASSES.T
    means = np.column_stack([first, 5 * first + second, second // 2, -third]).astype(float)
    expected = np.zeros((4, 3))
    expected[0, 0] = expected[1, 0] = math.log(4)
    expected[1, 1], expected[3, 2] = math.log(2), math.log(3)
    assert information(means, 1e-3, CLASSES) == pytest.approx(expected, abs=1e-9)
    log_variances = np.full(means.shape, -14.0)

    def gap(dimensions: list[int]) -> float:
        return aggregate_mutual_information_gap(means[:, dimensions], log_variances[:, dimensions], CLASSES, rng())

    # two dimensions know the first factor, one each of the others
    assert gap([0, 1, 2, 3]) == gap([3, 1, 0, 2]) == pytest.approx(2 / 3)
    assert gap([0, 2, 3]) == pytest.approx(2 / 3)  # nobody knows the second
    assert gap([1]) == pytest.approx(2 / 3)  # competes with nothing
    assert gap([0, 0, 3]) == pytest.approx(1 / 3)
    assert gap([2]) == pytest.approx(0)


def test_equal_posteriors_know_nothing() -> None:
    for deviation in (1e-3, 1.0, 100.0):
        assert information(np.full((480, 2), 0.3), deviation, CLASSES) == pytest.approx(0, abs=1e-9)
    apart = np.array([1e-3, 1.0])[CLASSES[:, 1], None]  # but variances tell classes apart, too
    assert information(np.zeros((480, 1)), apart, CLASSES)[0] == pytest.approx([0, math.log(2), 0], abs=0.02)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0, 20.0])
def test_two_gaussians_share_with_their_class_what_the_integral_says(distance: float) -> None:
    """Of means ±distance and variance 1; well separated, log 2."""
    grid = np.linspace(-distance - 10, distance + 10, 20_001)
    both = [np.exp(-0.5 * (grid - centre) ** 2) / math.sqrt(2 * math.pi) for centre in (-distance, distance)]
    mixture = (both[0] + both[1]) / 2
    expected = sum(np.trapezoid(part * np.log(np.maximum(part, 1e-300) / mixture), grid) for part in both) / 2
    classes = np.arange(2000)[:, None] % 2
    found = information(distance * (2.0 * classes - 1), 1, classes)
    assert found == pytest.approx(expected, abs=0.03)
    if distance == 20:
        assert found == pytest.approx(math.log(2))


def test_densities_are_gaussians_and_mixtures_of_them() -> None:
    samples = rng().standard_normal((4000, 1))
    one = log_density(3 + 2 * samples, np.array([[3.0]]), np.array([[math.log(4)]]))
    assert -one.mean() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 4), abs=0.03)
    apart = log_density(samples, np.array([[0.0], [1e3]]), np.zeros((2, 1)))
    assert -apart.mean() == pytest.approx(0.5 * math.log(2 * math.pi * math.e) + math.log(2), abs=0.03)
    far = log_density(np.array([[1e4]]), np.zeros((5, 1)), np.zeros((5, 1)))  # where densities are 0 as numbers
    assert far.item() == pytest.approx(log_normal(1e4, 0, 0))


# Properties


def test_bounds_order_units_and_factors_that_do_not_vary() -> None:
    generator = np.random.default_rng(1)
    classes = np.stack([generator.binomial(4, 0.3, 1000), generator.integers(2, size=1000)], axis=1)
    means = classes @ generator.standard_normal((2, 4)) + 0.1 * generator.standard_normal((1000, 4))
    log_variances = generator.uniform(-9, 0, means.shape)
    found, entropies = aggregate_information(means, log_variances, classes, rng())
    assert (found >= 0).all()
    assert (found <= entropies + 1e-12).all()
    narrow = aggregate_information(means, np.full(means.shape, -30.0), classes, rng())[0]
    assert narrow == pytest.approx(
        np.broadcast_to(entropies, narrow.shape), abs=0.01
    )  # an image's code is its own alone
    gap = aggregate_mutual_information_gap(means, log_variances, classes, rng())
    assert 0 < gap < 1
    unvarying = np.insert(classes, 1, 7, axis=1)
    assert aggregate_mutual_information_gap(means, log_variances, unvarying, rng()) == pytest.approx(gap)
    scaled = aggregate_mutual_information_gap(5 - 3 * means, log_variances + math.log(9), classes[:, ::-1], rng())
    reordered = aggregate_mutual_information_gap(means[:, ::-1], log_variances[:, ::-1], classes, rng())
    assert [scaled, reordered] == pytest.approx([gap, gap], abs=0.03)


def test_inputs_that_make_no_sense_are_an_error() -> None:
    means, log_variances = np.zeros((480, 2)), np.zeros((480, 2))
    for arguments, message in (
        ((means * np.nan, log_variances, CLASSES), "must be finite"),
        ((means, log_variances + np.inf, CLASSES), "must be finite"),
        ((means, log_variances[:, :1], CLASSES), r"must be alike, got \(480, 2\) and \(480, 1\)"),
        ((means[:9], log_variances[:9], CLASSES), "must share n"),
        ((means, log_variances, CLASSES * 0), "at least one factor must vary"),
    ):
        with pytest.raises(ValueError, match=message):
            aggregate_mutual_information_gap(*arguments, rng())


# Members


def test_log_variances_are_the_encoders_or_the_fixed_ones(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled for them: they come from the layers themselves, in groups too."""
    indices = np.arange(5)
    trainer, other, fixed = (
        Trainer(config, dataset)
        for config in (TINY, dataclasses.replace(TINY, seed=1), dataclasses.replace(TINY, label_variance=0.25))
    )
    for each in (trainer, other, fixed):
        monkeypatch.setattr(each, "_functions", None)
    expected = trainer.model.encode(trainer._images(indices)).log_variance.detach().numpy()
    others = other.posterior_log_variances(indices)
    assert np.abs(others - expected).max() > 1e-2
    monkeypatch.setattr(training, "ENCODING_BATCH", 2)
    Group([other, trainer])
    for member, known in ((trainer, expected), (other, others)):
        found = member.posterior_log_variances(indices)
        assert (found.shape, found.dtype) == ((5, 10), np.float32)
        assert np.abs(found - known).max() < 1e-5
    log_variances = fixed.posterior_log_variances(indices)
    assert np.allclose(log_variances[:, :5], math.log(0.25))
    assert np.abs(log_variances[:, 5:] - expected[:, 5:]).max() < 1e-5


def test_members_are_scored_by_it_and_no_other_metric_asks_for_variances(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(TINY, few_images(dataset))
    values = evaluate(trainer, 40, ["mig_aggregate"])
    assert values.keys() == {"mig_aggregate"}
    assert 0 <= values["mig_aggregate"] < 1
    assert type(values["mig_aggregate"]) is float
    for name in ("posterior_log_variances", "decode"):
        monkeypatch.setattr(trainer, name, None)
    assert evaluate(trainer, 40, ["mig", "l2", "leak", "irs"])["mig"] >= 0
