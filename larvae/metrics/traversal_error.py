"""The error of label traversals against the data set's own images, which a full grid of factors has of all labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.metrics.sample import Sample

NUM_REFERENCES = 64
"""Images whose labels are varied, at most."""


def scores(sample: Sample, generator: np.random.Generator) -> dict[str, float]:
    """The error of each factor that y stands for, and their mean: squared, per pixel, of pixels in [0, 1].

    The references are random images of the sample. Of each, one label after another is replaced by a random other
    class's and decoded, with the nuisance of `larvae.traversal`: the prior's mean or, where y stands for some factors
    only, the reference's posterior mean. The expected image, clipped as label traversals show it, is compared with the
    data set's own image of these classes and of the reference's others. 0 is perfect.
    """
    references = generator.choice(len(sample.classes), min(NUM_REFERENCES, len(sample.classes)), replace=False)
    is_partial = sample.labels.num_factors < sample.classes.shape[1]
    inferred = sample.nuisance[references].astype(np.float32)
    nuisance = inferred if is_partial else np.zeros_like(inferred)
    errors = {}
    for name, size, column in zip(sample.labels.names, sample.labels.sizes, sample.label_columns, strict=True):
        classes = sample.classes[references].copy()
        classes[:, column] = other_classes(classes[:, column], size, generator)
        labels = sample.labels.to_labels(classes[:, sample.label_columns])
        decoded, own = sample.on_demand.decode(labels, nuisance), sample.on_demand.pictures(classes)
        errors[f"traversal_error_{name}"] = mean_square_error(decoded, own)
    return {"traversal_error": float(np.mean(list(errors.values())))} | errors


def other_classes(column: NDArray[np.integer], size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """A random class of a factor's `size` for each of some images, (n,), any but its own in the column (n,)."""
    return np.asarray((column + generator.integers(1, size, size=len(column))) % size, np.int64)


def mean_square_error(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> float:
    """Mean squared difference of images and as many others, both 0 to 255, in units in which white is 1."""
    return float(np.square((images.astype(np.float64) - others) / 255).mean())
