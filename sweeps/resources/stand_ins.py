"""Stands in for a data set where only the shape of its images matters: no node need have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae import datasets
from larvae.datasets import Dataset
from larvae.datasets.layouts import PackedImages
from larvae.datasets.specification import Specification
from larvae.datasets.store import BYTES_PER_IMAGE


class BlackImages:
    """Colour images as a file would give them."""

    maximum = 255
    fingerprint = ""

    def __init__(self, specification: Specification) -> None:
        self.specification = specification

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        return np.zeros((len(indices), self.specification.channels, 64, 64), np.uint8)

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Two of each factor, as held-out images must differ in all."""
        return np.repeat(indices[:, None] % 2, self.specification.factors.num_factors, axis=1).astype(np.int64)


def stand_in(name: str) -> Dataset:
    """A data set of black images, which takes the time and the memory of the one that is named.

    What is drawn whenever it is asked for is taken as it is: any node makes what it is drawn from.
    """
    specification = datasets.specification(name)
    if specification.render is not None:
        return datasets.open_dataset(name, datasets.prepare(name))
    if specification.channels == 1:
        packed = np.zeros((specification.num_images, BYTES_PER_IMAGE), np.uint8)
        return Dataset(specification, PackedImages(packed, fingerprint=""))
    return Dataset(specification, BlackImages(specification))
