"""Metrics of a trained member: of posterior means that are encoded once and shared by all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from larvae import streams
from larvae.config import HELD_OUT_METRICS, METRICS, applicable, held_out
from larvae.datasets.factors import Factors
from larvae.errors import NonFiniteLossError
from larvae.metrics.beta_vae import beta_vae_score
from larvae.metrics.dci import dci
from larvae.metrics.factor_vae import factor_vae_score
from larvae.metrics.label_distance import label_distance, root_mean_square_errors
from larvae.metrics.mig import aligned_mutual_information_gap, mutual_information_gap
from larvae.metrics.modularity import modularity
from larvae.metrics.sap import sap_score
from larvae.streams import Stream
from larvae.training import Trainer

ON_TWO_SAMPLES = ("factor_vae_score", "beta_vae_score", "sap", "dci")
"""Metrics that learn on one sample and score on another, half as large."""


class Sample(NamedTuple):
    """Encoded images, and the rest that a metric may ask for."""

    codes: NDArray[np.floating]
    """Posterior means of (y, z), (n, |y| + |z|)."""
    classes: NDArray[np.integer]
    """Class indices of all factors, (n, k)."""
    label_columns: list[int]
    """Columns of the factors that y stands for, |y| of them."""
    labels: Factors
    """The factors that y stands for."""
    test_codes: NDArray[np.floating]
    """Posterior means of other images, (m, |y| + |z|); no rows where no metric needs them."""
    test_classes: NDArray[np.integer]
    """(m, k)"""

    @property
    def inferred(self) -> NDArray[np.floating]:
        """Inferred labels (n, |y|)."""
        return self.codes[:, : len(self.label_columns)]

    @property
    def label_classes(self) -> NDArray[np.integer]:
        """Class indices of the factors that y stands for, (n, |y|)."""
        return self.classes[:, self.label_columns]


def evaluate(trainer: Trainer, size: int, metrics: Iterable[str]) -> dict[str, float]:
    """The applicable ones of some metrics of a member, by name, of images whose labels it was not given, if it can be.

    Where it holds out labelled images, HELD_OUT_METRICS of those come with them.
    Raises NonFiniteLossError when it has diverged.
    """
    chosen = applicable(metrics, trainer.dataset.specification)
    of_held_out = _evaluate_held_out(trainer) if len(trainer.held_out) else {}
    return (_evaluate_whole_data(trainer, size, chosen) if chosen else {}) | of_held_out


def _evaluate_whole_data(trainer: Trainer, size: int, chosen: tuple[str, ...]) -> dict[str, float]:
    dataset, seed = trainer.dataset, trainer.config.seed
    with_labels = np.concatenate([trainer.held_out, trainer.labelled])
    indices = evaluation_indices(dataset.num_images, with_labels, size, seed)
    test_indices = indices[:0]
    if set(chosen) & set(ON_TWO_SAMPLES):
        taken = np.concatenate([with_labels, indices])
        test_indices = evaluation_indices(dataset.num_images, taken, size // 2 or 1, seed, indices)
    return metrics_of_sample(_sample(trainer, indices, test_indices), chosen, seed)


def _evaluate_held_out(trainer: Trainer) -> dict[str, float]:
    """The metrics that tuning may look at: of images whose labels training does not see, of observed factors alone."""
    chosen = applicable(HELD_OUT_METRICS, trainer.dataset.specification)
    sample = _sample(trainer, trainer.held_out, trainer.held_out[:0])
    sample = sample._replace(classes=sample.label_classes, label_columns=list(range(len(sample.label_columns))))
    values = metrics_of_sample(sample, chosen, trainer.config.seed)
    return {held_out(name): values[name] for name in chosen}


def _sample(trainer: Trainer, indices: NDArray[np.integer], test_indices: NDArray[np.integer]) -> Sample:
    """Images encoded; NonFiniteLossError when the member has diverged."""
    codes = trainer.posterior_means(np.concatenate([indices, test_indices]))
    if not np.isfinite(codes).all():
        raise NonFiniteLossError(f"posterior means not finite at iteration {trainer.iteration}")
    return Sample(
        codes=codes[: len(indices)],
        classes=trainer.dataset.classes(indices),
        label_columns=trainer.label_columns,
        labels=trainer.labels,
        test_codes=codes[len(indices) :],
        test_classes=trainer.dataset.classes(test_indices),
    )


def evaluation_indices(
    num_images: int,
    taken: NDArray[np.integer],
    size: int,
    seed: int,
    *less_taken: NDArray[np.integer],
) -> NDArray[np.int64]:
    """A sample of `size` distinct images outside those taken, for labels say; the same for all members of a seed.

    Where fewer than `size` are left, the rest come from outside smaller sets, if some are given, and at last from all.
    """
    permutation = streams.generator(seed, Stream.EVALUATION).permutation(num_images)
    avoidance = sum(np.isin(permutation, avoided).astype(int) for avoided in (taken, *less_taken))
    return permutation[np.argsort(avoidance, kind="stable")][:size]


def metrics_of_sample(sample: Sample, metrics: Iterable[str], seed: int) -> dict[str, float]:
    """Metrics by name; each draws from a stream of its own, so none depends on which others are computed."""
    values: dict[str, float] = {}
    for name in metrics:
        values |= _SCORES[name](sample, streams.generator(seed, Stream.METRICS, METRICS.index(name)))
    return values


def _mig(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """MIG over all dimensions and all factors; over y alone, and aligned, for the factors that y stands for."""
    return {
        "mig": mutual_information_gap(sample.codes, sample.classes),
        "mig_y": mutual_information_gap(sample.inferred, sample.label_classes),
        "mig_aligned": aligned_mutual_information_gap(sample.codes, sample.label_classes),
    }


def _l2(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    """ℓ2 and the RMSE of each factor that y stands for, in [0, 1] units."""
    inferred = sample.labels.to_unit_interval(sample.inferred)
    labels = sample.labels.to_unit_interval(sample.labels.standardise(sample.label_classes))
    errors = root_mean_square_errors(inferred, labels)
    by_factor = {f"rmse_{name}": float(error) for name, error in zip(sample.labels.names, errors, strict=True)}
    return {"l2": label_distance(inferred, labels)} | by_factor


def _factor_vae_score(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    return {"factor_vae_score": factor_vae_score(*_two_samples(sample), generator)}


def _beta_vae_score(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    return {"beta_vae_score": beta_vae_score(*_two_samples(sample), generator)}


def _sap(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    return {"sap": sap_score(*_two_samples(sample))}


def _modularity(sample: Sample, _: np.random.Generator) -> dict[str, float]:
    return {"modularity": modularity(sample.codes, sample.classes)}


def _dci(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    return {f"dci_{name}": value for name, value in dci(*_two_samples(sample), generator)._asdict().items()}


def _two_samples(
    sample: Sample,
) -> tuple[NDArray[np.floating], NDArray[np.integer], NDArray[np.floating], NDArray[np.integer]]:
    return sample.codes, sample.classes, sample.test_codes, sample.test_classes


_SCORES: dict[str, Callable[[Sample, np.random.Generator], dict[str, float]]] = {
    "mig": _mig,
    "l2": _l2,
    "factor_vae_score": _factor_vae_score,
    "beta_vae_score": _beta_vae_score,
    "sap": _sap,
    "modularity": _modularity,
    "dci": _dci,
}
