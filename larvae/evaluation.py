"""What a trained member is worth: MIG and ℓ2 on one sample of images, encoded once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae import streams
from larvae.datasets.factors import FactorGrid
from larvae.errors import NonFiniteLossError
from larvae.metrics.label_distance import label_distance, root_mean_square_errors
from larvae.metrics.mig import aligned_mutual_information_gap, mutual_information_gap
from larvae.streams import Stream
from larvae.training import Trainer


def evaluation_indices(num_images: int, labelled: NDArray[np.integer], size: int, seed: int) -> NDArray[np.int64]:
    """A sample of `size` distinct images outside the labelled set, the same for all members of a seed.

    Where fewer than `size` images are unlabelled, all images are sampled from.
    """
    permutation = streams.generator(seed, Stream.EVALUATION).permutation(num_images)
    outside = permutation[~np.isin(permutation, labelled)] if len(labelled) < num_images else permutation[:0]
    return outside[:size] if len(outside) >= size else permutation[:size]


def evaluate(trainer: Trainer, size: int) -> dict[str, float]:
    """All metrics of a member, by name. Raises NonFiniteLossError when it has diverged."""
    dataset = trainer.dataset
    indices = evaluation_indices(dataset.num_images, trainer.labelled, size, trainer.config.seed)
    codes = trainer.posterior_means(indices)
    if not np.isfinite(codes).all():
        raise NonFiniteLossError(f"posterior means not finite at iteration {trainer.iteration}")
    return metrics_of_codes(codes, dataset.grid.classes(indices), dataset.grid)


def metrics_of_codes(codes: NDArray[np.floating], classes: NDArray[np.integer], grid: FactorGrid) -> dict[str, float]:
    """MIG over all dimensions, over y alone and aligned; ℓ2 and the RMSE of each factor in [0, 1] units.

    codes: posterior means of (y, z), (n, |y| + |z|). classes: class indices, (n, |y|).
    """
    inferred = codes[:, : grid.num_factors]
    inferred_unit = grid.to_unit_interval(inferred)
    labels_unit = grid.to_unit_interval(grid.standardise(classes))
    errors = root_mean_square_errors(inferred_unit, labels_unit)
    return {
        "mig": mutual_information_gap(codes, classes),
        "mig_y": mutual_information_gap(inferred, classes),
        "mig_aligned": aligned_mutual_information_gap(codes, classes),
        "l2": label_distance(inferred_unit, labels_unit),
    } | {f"rmse_{name}": float(error) for name, error in zip(grid.names, errors, strict=True)}
