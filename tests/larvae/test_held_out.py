"""Labelled images that training does not see: how they are split off, and what they alone are worth."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae.config import MemberConfig
from larvae.datasets import Dataset, hold_out, labelled_indices
from larvae.datasets.factors import Factors
from larvae.errors import InvalidInputError
from larvae.evaluation import evaluate, evaluate_held_out
from larvae.metrics import HELD_OUT_METRICS
from larvae.metrics.l2 import label_distance
from larvae.metrics.mig import mutual_information_gap
from larvae.training import Trainer
from tests.larvae.test_evaluation import SMALL, few_images

ALL = MemberConfig(batch_size=4, label_rate=0.001, seed=3)
"""A member that trains on all of its labelled images, 737."""
CONFIG = dataclasses.replace(ALL, held_out=0.1)
HELD_OUT_KEYS = {f"held_out_{name}" for name in HELD_OUT_METRICS}


def parameters_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def is_equal(ours: Trainer, theirs: Trainer) -> bool:
    """Bit for bit."""
    a, b = parameters_of(ours), parameters_of(theirs)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The split


def test_split_is_of_all_labelled_images_into_two_nested_parts() -> None:
    """A larger label rate, or a larger share, holds out the smaller one's and more."""
    rates, shares = (0.001, 0.01, 0.5), (0.01, 0.1, 0.3333, 0.99)
    parts = {}
    for rate, share in itertools.product(rates, shares):
        labelled = labelled_indices(200_000, rate, seed=0)
        trained_on, held_out = hold_out(labelled, share)
        assert len(held_out) == round(share * len(labelled))
        assert len(trained_on) + len(held_out) == len(labelled)
        assert np.array_equal(np.union1d(trained_on, held_out), np.sort(labelled))
        parts[rate, share] = held_out
    for (rate, share), fewer in parts.items():
        for more in (parts[r, s] for r, s in parts if r >= rate and s >= share):
            assert np.isin(fewer, more).all()
    trained_on, held_out = hold_out(labelled, 0.0)
    assert np.array_equal(trained_on, labelled)
    assert len(held_out) == 0


def test_a_split_with_nothing_to_compare_or_to_train_on_is_refused(dataset: Dataset) -> None:
    for share in (0.04, 0.1, 0.96):
        rule = f"`held_out` must hold out two or more of 10 labelled images and leave some, got {share}"
        with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
            hold_out(np.arange(10), share)
    assert [[len(part) for part in hold_out(np.arange(10), share)] for share in (0.2, 0.9)] == [[8, 2], [1, 9]]
    config = dataclasses.replace(CONFIG, label_rate=3 / dataset.num_images)
    with pytest.raises(InvalidInputError, match="`held_out` must hold out two or more of 3 labelled images"):
        Trainer(config, dataset)


def test_held_out_images_that_are_alike_in_all_labels_are_refused(dataset: Dataset) -> None:
    """Two of one shape, where the shape alone is known: no metric can compare them."""
    rate, shape = 6 / dataset.num_images, dataset.factors.names.index("shape")
    config = dataclasses.replace(ALL, label_rate=rate, held_out=0.34, observed_factors=("shape",))
    is_refused = []
    for seed in range(12):
        _, held_out = hold_out(labelled_indices(dataset.num_images, rate, seed), config.held_out)
        is_refused.append(len(set(dataset.classes(held_out)[:, shape])) == 1)
        of_seed = dataclasses.replace(config, seed=seed)
        if is_refused[-1]:
            rule = "`held_out` must hold out images that differ in shape, got 0.34: 2 that do not"
            with pytest.raises(InvalidInputError, match=rule):
                Trainer(of_seed, dataset)
        else:
            assert np.isfinite(list(evaluate_held_out(Trainer(of_seed, dataset)).values())).all()
    assert set(is_refused) == {False, True}


# Training


def test_held_out_images_change_nothing_but_the_labelled_set(dataset: Dataset) -> None:
    """Bit for bit the training on the fewer labelled images that are left."""
    ours, theirs, with_all = Trainer(CONFIG, dataset), Trainer(ALL, dataset), Trainer(ALL, dataset)
    count = round(CONFIG.held_out * len(theirs.sampler.labelled))
    theirs.sampler.labelled = theirs.sampler.labelled[count:]
    assert ours.train(2) == theirs.train(2)
    assert is_equal(ours, theirs)
    with_all.train(2)
    assert not is_equal(ours, with_all)


# Evaluation


@pytest.mark.parametrize("observed", [(), ("shape", "position_x")], ids=["all factors", "two factors"])
def test_held_out_metrics_are_those_of_exactly_the_held_out_images(dataset: Dataset, observed: tuple[str, ...]) -> None:
    trainer = Trainer(dataclasses.replace(CONFIG, observed_factors=observed), dataset)
    trainer.train(1)
    metrics = evaluate_held_out(trainer)
    assert set(metrics) == HELD_OUT_KEYS
    codes, classes = (
        trainer.posterior_means(trainer.sampler.held_out),
        dataset.factors.classes(trainer.sampler.held_out),
    )
    columns = dataset.factors.columns(trainer.config.labels)
    assert metrics["held_out_mig"] == mutual_information_gap(codes, classes[:, columns])
    inferred = trainer.sampler.labels.to_unit_interval(codes[:, : len(columns)])
    labels = classes[:, columns] / (np.array(dataset.factors.sizes)[columns] - 1)
    assert metrics["held_out_l2"] == pytest.approx(label_distance(inferred, labels), rel=1e-5)
    assert metrics["held_out_l2"] == pytest.approx(np.linalg.norm(inferred - labels, axis=1).mean(), rel=1e-5)


def test_labels_that_are_not_observed_have_no_say(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning must not profit from labels that a member is said not to have."""
    observed = ("shape", "scale")
    trainer = Trainer(dataclasses.replace(CONFIG, observed_factors=observed), dataset)
    before = evaluate_held_out(trainer)
    hidden = [i for i, name in enumerate(dataset.factors.names) if name not in observed]
    classes = dataset.factors.classes(trainer.sampler.held_out)
    classes[:, hidden] = np.random.default_rng(0).permutation(classes[:, hidden])
    monkeypatch.setattr(type(dataset), "classes", lambda self, indices: classes[: len(indices)])
    assert evaluate_held_out(trainer) == before


class Watched:
    """A store of images that remembers which were looked at."""

    def __init__(self, dataset: Dataset) -> None:
        self.store = dataset.store
        self.fingerprint = dataset.fingerprint
        self.images_of: list[np.ndarray] = []
        self.classes_of: list[np.ndarray] = []

    def images(self, indices: np.ndarray) -> np.ndarray:
        self.images_of.append(indices)
        return self.store.images(indices)

    def classes(self, indices: np.ndarray) -> np.ndarray:
        self.classes_of.append(indices)
        return self.store.classes(indices)


@pytest.mark.parametrize("factors", [SMALL, Factors(SMALL.names, SMALL.sizes)], ids=["grid", "dependent"])
def test_without_other_metrics_no_other_image_nor_label_is_looked_at(dataset: Dataset, factors: Factors) -> None:
    """Factors that are no grid may depend on each other, so they have no gap; their labels lie in the store."""
    known = few_images(dataset, factors)
    watched = Watched(known)
    trainer = Trainer(dataclasses.replace(CONFIG, label_rate=0.5, held_out=0.25), Dataset(known.specification, watched))
    assert not watched.images_of
    metrics = evaluate_held_out(trainer)
    assert metrics.keys() == (HELD_OUT_KEYS if factors is SMALL else {"held_out_l2"})
    assert all(np.isfinite(value) for value in metrics.values())
    assert np.array_equal(np.unique(np.concatenate(watched.images_of)), np.sort(trainer.sampler.held_out))
    assert all(np.isin(indices, trainer.sampler.held_out).all() for indices in watched.classes_of)


def test_other_metrics_are_the_same_with_held_out_metrics_beside_them(dataset: Dataset) -> None:
    trainer = Trainer(CONFIG, dataset)
    assert evaluate_held_out(trainer).keys() == HELD_OUT_KEYS
    assert evaluate(Trainer(ALL, dataset), 50, ["mig", "l2"]) == evaluate(trainer, 50, ["mig", "l2"])
    assert evaluate_held_out(Trainer(ALL, dataset)) == {}
