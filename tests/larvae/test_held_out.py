"""Labelled images that training does not see: how they are split off, and what they alone are worth."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae.config import HELD_OUT_METRICS, METRICS, REGULARISERS, MemberConfig, Schedule
from larvae.datasets import Dataset, hold_out, labelled_indices
from larvae.datasets.factors import Factors
from larvae.errors import InvalidInputError, NonFiniteLossError
from larvae.evaluation import evaluate
from larvae.member import train_member
from larvae.member_directory import MemberDirectory
from larvae.metrics.label_distance import label_distance
from larvae.metrics.mig import mutual_information_gap
from larvae.training import Trainer
from tests.larvae.test_evaluation import SMALL, few_images
from tests.larvae.test_member import assert_equal_states, final_state, interrupt_after, without_times

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


@pytest.mark.parametrize("share", [0.002, 0.1, 0.3333, 0.5, 0.999])
@pytest.mark.parametrize("label_rate", [0.001, 0.01, 0.5])
def test_split_is_of_all_labelled_images_into_two_parts(label_rate: float, share: float) -> None:
    labelled = labelled_indices(1_000_000, label_rate, seed=0)
    trained_on, held_out = hold_out(labelled, share)
    assert len(held_out) == round(share * len(labelled))
    assert len(trained_on) + len(held_out) == len(labelled)
    assert np.array_equal(np.union1d(trained_on, held_out), np.sort(labelled))


@pytest.mark.parametrize("share", [0, 0.0])
def test_nothing_held_out_leaves_the_labelled_images_in_their_order(share: float) -> None:
    labelled = labelled_indices(1000, 0.1, seed=0)
    trained_on, held_out = hold_out(labelled, share)
    assert np.array_equal(trained_on, labelled)
    assert len(held_out) == 0


@pytest.mark.parametrize("share", [0.01, 0.1, 0.7])
def test_larger_label_rate_holds_out_the_smaller_one_s_and_more(share: float) -> None:
    rates = (0.002, 0.005, 0.01, 0.1, 1.0)
    parts = [hold_out(labelled_indices(100_000, rate, seed=0), share)[1] for rate in rates]
    for fewer, more in itertools.pairwise(parts):
        assert len(fewer) < len(more)
        assert np.isin(fewer, more).all()


def test_larger_share_holds_out_the_smaller_one_s_and_more() -> None:
    labelled = labelled_indices(1000, 0.5, seed=0)
    fewer, more = (hold_out(labelled, share)[1] for share in (0.1, 0.2))
    assert np.isin(fewer, more).all()


@pytest.mark.parametrize("share", [0.04, 0.1, 0.96])
def test_a_split_with_nothing_to_compare_or_to_train_on_is_refused(share: float) -> None:
    rule = f"`held_out` must hold out two or more of 10 labelled images and leave some, got {share}"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}$"):
        hold_out(np.arange(10), share)
    assert [len(part) for part in hold_out(np.arange(10), 0.2)] == [8, 2]
    assert [len(part) for part in hold_out(np.arange(10), 0.9)] == [1, 9]


def test_trainer_refuses_to_hold_out_all_or_none_of_its_labels(dataset: Dataset) -> None:
    config = dataclasses.replace(CONFIG, label_rate=3 / dataset.num_images)
    with pytest.raises(InvalidInputError, match="`held_out` must hold out two or more of 3 labelled images"):
        Trainer(config, dataset)


# Training


def drawn_with_labels(trainer: Trainer, iterations: int) -> np.ndarray:
    """Images that come with labels in the batches of some iterations."""
    drawn: list[np.ndarray] = []
    labels_of = trainer.labels_of

    def recorded(indices: np.ndarray) -> np.ndarray:
        drawn.append(indices)
        return labels_of(indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "labels_of", recorded)
        for iteration in range(iterations):
            trainer.inputs(iteration)
    return np.concatenate(drawn)


@pytest.mark.parametrize("share", [0.1, 0.8])
@pytest.mark.parametrize("regulariser", REGULARISERS)
def test_labels_of_held_out_images_are_never_drawn(dataset: Dataset, regulariser: str, share: float) -> None:
    config = dataclasses.replace(CONFIG, held_out=share, regulariser=regulariser, label_rate=60 / dataset.num_images)
    trainer = Trainer(config, dataset)
    drawn = drawn_with_labels(trainer, 300)
    assert len(drawn) == 300 * config.batch_size
    assert not np.isin(drawn, trainer.held_out).any()
    assert np.array_equal(np.unique(drawn), np.sort(trainer.labelled))  # so many draws would have found one


def test_labelled_and_held_out_images_are_those_of_the_seed_s_labelled_set(dataset: Dataset) -> None:
    trainer, other = Trainer(CONFIG, dataset), Trainer(dataclasses.replace(CONFIG, tau=0, z_dim=2), dataset)
    together = np.union1d(trainer.labelled, trainer.held_out)
    assert np.array_equal(together, np.sort(labelled_indices(dataset.num_images, ALL.label_rate, ALL.seed)))
    assert np.array_equal(trainer.held_out, other.held_out)
    another_seed = Trainer(dataclasses.replace(CONFIG, seed=4), dataset)
    assert not np.array_equal(trainer.held_out, another_seed.held_out)


def test_without_held_out_images_training_is_as_before(dataset: Dataset) -> None:
    trainer = Trainer(ALL, dataset)
    assert np.array_equal(trainer.labelled, labelled_indices(dataset.num_images, ALL.label_rate, ALL.seed))
    assert len(trainer.held_out) == 0
    other = Trainer(dataclasses.replace(ALL, held_out=0), dataset)
    assert trainer.train(3) == other.train(3)
    assert is_equal(trainer, other)


def test_held_out_images_change_nothing_but_the_labelled_set(dataset: Dataset) -> None:
    """Bit for bit the training on the fewer labelled images that are left."""
    ours, theirs, with_all = Trainer(CONFIG, dataset), Trainer(ALL, dataset), Trainer(ALL, dataset)
    count = round(CONFIG.held_out * len(theirs.labelled))
    theirs.labelled = theirs.labelled[count:]
    assert ours.train(3) == theirs.train(3)
    assert is_equal(ours, theirs)
    with_all.train(3)
    assert not is_equal(ours, with_all)


SCHEDULE = Schedule(
    iterations=5,
    log_every=2,
    evaluate_every=4,
    evaluation_size=50,
    metrics=(),
    final_metrics=("mig", "l2"),
    checkpoint_seconds=0,
)


@pytest.mark.parametrize("seconds", [0, 1e9], ids=["always saved", "never saved"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    dataset: Dataset, tmp_path: Path, seconds: float
) -> None:
    at_once, resumed = MemberDirectory(tmp_path / "at once"), MemberDirectory(tmp_path / "resumed")
    expected = list(train_member(CONFIG, SCHEDULE, dataset, at_once))
    for num_rows in (1, 2):
        interrupt_after(num_rows, dataclasses.replace(SCHEDULE, checkpoint_seconds=seconds), dataset, resumed, CONFIG)
    rows = list(train_member(CONFIG, SCHEDULE, dataset, resumed))
    assert without_times(rows) == without_times(expected)
    assert_equal_states(final_state(resumed), final_state(at_once))
    assert [HELD_OUT_KEYS & row.keys() for row in rows] == [set(), HELD_OUT_KEYS, HELD_OUT_KEYS]
    assert ["mig" in row for row in rows] == [False, False, True]


# Evaluation


def encoded_samples(trainer: Trainer, size: int, metrics: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which images an evaluation looks at: those held out, and all others in its order."""
    seen: list[np.ndarray] = []
    posterior_means = trainer.posterior_means

    def recorded(indices: np.ndarray) -> np.ndarray:
        seen.append(indices)
        return posterior_means(indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "posterior_means", recorded)
        evaluate(trainer, size, metrics)
    held_out = [indices for indices in seen if np.array_equal(indices, trainer.held_out)]
    others = [indices for indices in seen if not np.array_equal(indices, trainer.held_out)]
    return np.concatenate([[], *held_out]), np.concatenate([[], *others])


@pytest.mark.parametrize("observed", [(), ("shape", "position_x")], ids=["all factors", "two factors"])
def test_held_out_metrics_are_those_of_exactly_the_held_out_images(dataset: Dataset, observed: tuple[str, ...]) -> None:
    trainer = Trainer(dataclasses.replace(CONFIG, observed_factors=observed), dataset)
    trainer.train(1)
    metrics = evaluate(trainer, 50, ())
    assert set(metrics) == HELD_OUT_KEYS
    codes, classes = trainer.posterior_means(trainer.held_out), dataset.factors.classes(trainer.held_out)
    columns = dataset.factors.columns(trainer.config.labels)
    assert metrics["held_out_mig"] == mutual_information_gap(codes, classes[:, columns])
    inferred = trainer.labels.to_unit_interval(codes[:, : len(columns)])
    labels = classes[:, columns] / (np.array(dataset.factors.sizes)[columns] - 1)
    assert metrics["held_out_l2"] == pytest.approx(label_distance(inferred, labels), rel=1e-5)
    assert metrics["held_out_l2"] == pytest.approx(np.linalg.norm(inferred - labels, axis=1).mean(), rel=1e-5)


def test_labels_that_are_not_observed_have_no_say(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning must not profit from labels that a member is said not to have."""
    observed = ("shape", "scale")
    trainer = Trainer(dataclasses.replace(CONFIG, observed_factors=observed), dataset)
    before = evaluate(trainer, 50, ())
    hidden = [i for i, name in enumerate(dataset.factors.names) if name not in observed]
    classes = dataset.factors.classes(trainer.held_out)
    classes[:, hidden] = np.random.default_rng(0).permutation(classes[:, hidden])
    monkeypatch.setattr(type(dataset), "classes", lambda self, indices: classes[: len(indices)])
    assert evaluate(trainer, 50, ()) == before


class Watched:
    """A store of images that remembers which were looked at."""

    def __init__(self, dataset: Dataset) -> None:
        self.store = dataset.store
        self.maximum, self.fingerprint = dataset.maximum, dataset.fingerprint
        self.images_of: list[np.ndarray] = []
        self.classes_of: list[np.ndarray] = []

    def images(self, indices: np.ndarray) -> np.ndarray:
        self.images_of.append(indices)
        return self.store.images(indices)

    def classes(self, indices: np.ndarray) -> np.ndarray:
        self.classes_of.append(indices)
        return self.store.classes(indices)


def test_without_other_metrics_no_other_image_is_looked_at(dataset: Dataset) -> None:
    watched = Watched(dataset)
    trainer = Trainer(CONFIG, Dataset(dataset.specification, watched))
    assert not watched.images_of
    evaluate(trainer, 50, ())
    assert np.array_equal(np.concatenate(watched.images_of), trainer.held_out)


def test_without_other_metrics_no_other_label_is_looked_at(dataset: Dataset) -> None:
    """Of factors that are no grid, whose labels lie in the store."""
    known = few_images(dataset, Factors(SMALL.names, SMALL.sizes))
    watched = Watched(known)
    trainer = Trainer(dataclasses.replace(CONFIG, label_rate=0.5, held_out=0.25), Dataset(known.specification, watched))
    assert set(evaluate(trainer, 20, ())) == {"held_out_l2"}  # no gap where factors may depend on each other
    assert np.array_equal(np.unique(np.concatenate(watched.classes_of)), np.sort(trainer.held_out))
    assert np.array_equal(np.unique(np.concatenate(watched.images_of)), np.sort(trainer.held_out))


@pytest.mark.parametrize("metrics", [("mig", "l2"), ("mig", "factor_vae_score")], ids=["one sample", "two samples"])
def test_other_metrics_are_of_images_without_labels(dataset: Dataset, metrics: tuple[str, ...]) -> None:
    trainer = Trainer(CONFIG, dataset)
    held_out, whole = encoded_samples(trainer, 200, metrics)
    assert np.array_equal(held_out, trainer.held_out)
    assert len(np.unique(whole)) == len(whole) == (200 if "l2" in metrics else 300)
    assert not np.isin(whole, trainer.labelled).any()
    assert not np.isin(whole, trainer.held_out).any()


def test_share_held_out_does_not_change_which_other_images_are_evaluated_on(dataset: Dataset) -> None:
    trainer, with_all = Trainer(CONFIG, dataset), Trainer(ALL, dataset)
    (_, others), (_, expected) = (encoded_samples(t, 200, ["mig", "factor_vae_score"]) for t in (trainer, with_all))
    assert np.array_equal(others, expected)


def test_held_out_images_are_avoided_by_a_small_data_set_s_samples(dataset: Dataset) -> None:
    """72 images, 36 of them with labels: there is room for 24 and 12 others, and no more."""
    trainer = Trainer(dataclasses.replace(CONFIG, label_rate=0.5, held_out=0.5), few_images(dataset))
    _, others = encoded_samples(trainer, 24, ["factor_vae_score"])
    assert len(np.unique(np.concatenate([others, trainer.labelled, trainer.held_out]))) == 72


def test_without_held_out_images_there_are_no_metrics_of_them(dataset: Dataset) -> None:
    trainer = Trainer(ALL, dataset)
    assert not [name for name in evaluate(trainer, 50, ["mig", "l2"]) if name.startswith("held_out")]
    assert evaluate(trainer, 50, ()) == {}


def test_other_metrics_are_the_same_with_held_out_metrics_beside_them(dataset: Dataset) -> None:
    trainer = Trainer(CONFIG, dataset)
    metrics = evaluate(trainer, 50, ["mig", "l2"])
    alone = evaluate(trainer, 50, ())
    assert {name: metrics[name] for name in HELD_OUT_KEYS} == alone
    trainer.held_out = trainer.held_out[:0]
    trainer.labelled = labelled_indices(dataset.num_images, ALL.label_rate, ALL.seed)
    assert {name: value for name, value in metrics.items() if name not in HELD_OUT_KEYS} == evaluate(
        trainer, 50, ["mig", "l2"]
    )


@pytest.mark.parametrize("factors", [SMALL, Factors(SMALL.names, SMALL.sizes)], ids=["grid", "dependent"])
def test_held_out_metrics_are_those_that_mean_something(dataset: Dataset, factors: Factors) -> None:
    config = dataclasses.replace(CONFIG, label_rate=0.5, held_out=0.25)
    metrics = evaluate(Trainer(config, few_images(dataset, factors)), 20, METRICS[:2])
    expected = HELD_OUT_KEYS if factors is SMALL else {"held_out_l2"}
    assert {name for name in metrics if name.startswith("held_out")} == expected
    assert all(np.isfinite(value) for value in metrics.values())


def test_diverged_member_fails_on_held_out_images_too(dataset: Dataset) -> None:
    trainer = Trainer(CONFIG, dataset)
    with torch.no_grad():
        trainer.model.encoder[-1].bias.fill_(np.nan)
    with pytest.raises(NonFiniteLossError, match=r"^posterior means not finite at iteration 0$"):
        evaluate(trainer, 50, ())


@pytest.mark.parametrize(
    "look", [lambda t: evaluate(t, 50, ()), lambda t: evaluate(t, 50, ("mig", "factor_vae_score"))]
)
def test_evaluation_leaves_training_alone(dataset: Dataset, look: Callable[[Trainer], object]) -> None:
    evaluated, plain = Trainer(CONFIG, dataset), Trainer(CONFIG, dataset)
    for trainer in (evaluated, plain):
        trainer.train(1)
    look(evaluated)
    assert evaluated.train(1) == plain.train(1)
    assert is_equal(evaluated, plain)
