"""Images of a pool, encoded once, that agree in a factor: what metrics of fixed factors draw from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A pool's n images, for each of k factors in circles of those that share its value, in random order."""

    order: NDArray[np.intp]
    """Images, one circle after the other, a column a factor, (n, k)."""
    starts: NDArray[np.intp]
    """Place in its column of `order` where each image's circle begins, (n, k)."""
    places: NDArray[np.intp]
    """Each image's place in its circle, (n, k)."""
    counts: NDArray[np.intp]
    """Number of images in each image's circle, itself among them, (n, k)."""

    @classmethod
    def shuffled(cls, classes: NDArray[np.integer], generator: np.random.Generator) -> Pool:
        """The pool of images with class indices (n, k)."""
        permutation = generator.permutation(len(classes))
        order = permutation[np.argsort(classes[permutation], axis=0, kind="stable")]
        starts, places, counts = np.empty_like(order), np.empty_like(order), np.empty_like(order)
        for factor, column in enumerate(classes.T):
            _, values, sizes = np.unique(column, return_inverse=True, return_counts=True)
            starts[:, factor] = (np.cumsum(sizes) - sizes)[values]
            counts[:, factor] = sizes[values]
            places[order[:, factor], factor] = np.arange(len(classes))
        return cls(order=order, starts=starts, places=places - starts, counts=counts)

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Random images, with replacement: values occur as often as they do in the data."""
        return generator.integers(len(self.order), size=shape)

    def followers(
        self, images: NDArray[np.integer], factors: NDArray[np.integer], steps: NDArray[np.integer]
    ) -> NDArray[np.intp]:
        """The images so many steps further round the circles of the given images and factors.

        images, factors, steps: integers whose shapes broadcast to the result's.
        """
        places = (self.places[images, factors] + steps) % self.counts[images, factors]
        return self.order[self.starts[images, factors] + places, factors]

    def others(
        self, images: NDArray[np.integer], factors: NDArray[np.integer], generator: np.random.Generator
    ) -> NDArray[np.intp]:
        """Draw for each image a random other one with the same value of the factor; itself where it is the only one.

        images, factors: integers whose shapes broadcast to the result's.
        """
        num_others = np.maximum(self.counts[images, factors] - 1, 1)
        return self.followers(images, factors, 1 + generator.integers(num_others))
