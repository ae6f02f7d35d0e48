"""Metrics of a trained member: of posterior means that are encoded once and shared by all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from larvae import streams
from larvae.errors import NonFiniteLossError
from larvae.metrics import HELD_OUT_METRICS, METRICS, applicable, computation, held_out
from larvae.metrics.sample import OnDemand, Sample
from larvae.phases import phase
from larvae.streams import Stream
from larvae.training import Trainer

STREAMS = 1000
"""Numbers of random streams that metrics of one sample of images may have."""


def evaluate(trainer: Trainer, size: int, metrics: Iterable[str], num_samples: int = 1) -> dict[str, float]:
    """The applicable ones of some metrics of a member, by name, of images whose labels it was not given, if it can be.

    num_samples: samples of so many images; of several each metric is the mean, and `<metric>_sd` their standard
    deviation, of the samples that have it: a factor that does not vary in one has no value there. Raises
    NonFiniteLossError when it has diverged.
    """
    chosen = applicable(metrics, trainer.dataset.specification)
    samples = [_evaluate_whole_data(trainer, size, chosen, number) for number in range(num_samples)] if chosen else [{}]
    return _means_and_deviations(samples)


def evaluate_held_out(trainer: Trainer) -> dict[str, float]:
    """The metrics that tuning may look at: of images whose labels training does not see, of observed factors alone.

    None where it holds out none. Raises NonFiniteLossError when it has diverged.
    """
    if not len(trainer.sampler.held_out):
        return {}
    chosen = applicable(HELD_OUT_METRICS, trainer.dataset.specification)
    sample = _sample(trainer, trainer.sampler.held_out, trainer.sampler.held_out[:0])
    sample = sample._replace(classes=sample.label_classes, label_columns=list(range(len(sample.label_columns))))
    values = metrics_of_sample(sample, chosen, trainer.config.seed)
    return {held_out(name): values[name] for name in chosen}


def _means_and_deviations(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    first, *others = samples
    if not others:
        return dict(first)
    names = dict.fromkeys(name for sample in samples for name in sample)
    values = {name: [sample[name] for sample in samples if name in sample] for name in names}
    deviations = {f"{name}_sd": float(np.std(several, ddof=1)) for name, several in values.items() if len(several) > 1}
    return {name: float(np.mean(several)) for name, several in values.items()} | deviations


def _evaluate_whole_data(trainer: Trainer, size: int, chosen: tuple[str, ...], number: int) -> dict[str, float]:
    """The metrics of one sample of images, by its number."""
    dataset, seed = trainer.dataset, trainer.config.seed
    with_labels = np.concatenate([trainer.sampler.held_out, trainer.sampler.labelled])
    indices = evaluation_indices(dataset.num_images, with_labels, size, seed, number=number)
    test_indices = indices[:0]
    if any(METRICS[name].learns for name in chosen):
        taken = np.concatenate([with_labels, indices])
        test_indices = evaluation_indices(dataset.num_images, taken, size // 2 or 1, seed, indices, number=number)
    return metrics_of_sample(_sample(trainer, indices, test_indices), chosen, seed, number)


def _sample(trainer: Trainer, indices: NDArray[np.integer], test_indices: NDArray[np.integer]) -> Sample:
    """Images encoded; NonFiniteLossError when the member has diverged."""
    with phase("encoding images"):
        codes = trainer.posterior_means(np.concatenate([indices, test_indices]))
    if not np.isfinite(codes).all():
        raise NonFiniteLossError(f"posterior means not finite at iteration {trainer.iteration}")
    return Sample(
        codes=codes[: len(indices)],
        classes=trainer.dataset.classes(indices),
        label_columns=trainer.sampler.label_columns,
        labels=trainer.sampler.labels,
        test_codes=codes[len(indices) :],
        test_classes=trainer.dataset.classes(test_indices),
        infers_logits=trainer.config.label_loss == "cross_entropy",
        on_demand=OnDemand(
            log_variances=lambda: _log_variances(trainer, indices),
            decode=trainer.decode,
            pictures=lambda classes: trainer.dataset.pictures(trainer.dataset.grid.indices(classes)),
        ),
    )


def _log_variances(trainer: Trainer, indices: NDArray[np.integer]) -> NDArray[np.float32]:
    log_variances = trainer.posterior_log_variances(indices)
    if not np.isfinite(log_variances).all():
        raise NonFiniteLossError(f"posterior log-variances not finite at iteration {trainer.iteration}")
    return log_variances


def evaluation_indices(
    num_images: int,
    taken: NDArray[np.integer],
    size: int,
    seed: int,
    *less_taken: NDArray[np.integer],
    number: int = 0,
) -> NDArray[np.int64]:
    """A sample of `size` distinct images outside those taken, for labels say; the same for all members of a seed.

    number: of the sample, where there are several.
    Where fewer than `size` are left, the rest come from outside smaller sets, if some are given, and at last from all.
    """
    permutation = streams.generator(seed, Stream.EVALUATION, number).permutation(num_images)
    avoidance = sum(np.isin(permutation, avoided).astype(int) for avoided in (taken, *less_taken))
    return permutation[np.argsort(avoidance, kind="stable")][:size]


def metrics_of_sample(sample: Sample, metrics: Iterable[str], seed: int, number: int = 0) -> dict[str, float]:
    """Metrics by name; each draws from a stream of its own, so none depends on which others are computed."""
    values: dict[str, float] = {}
    for name in metrics:
        generator = streams.generator(seed, Stream.METRICS, METRICS[name].stream + STREAMS * number)
        with phase(f"computing {name}"):
            values |= computation(name)(sample, generator)
    return values
