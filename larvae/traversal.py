"""Label traversals (Figs. 4, E.3 and E.4): one label varied, the others held, decoded without the image.

The reference is an image of the data set: its label is what is varied. z is the prior's mean, as the labels
say all there is to say; where only some factors are labelled, z is inferred from the reference.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from larvae import streams
from larvae.datasets import Dataset
from larvae.datasets.factors import FactorGrid, Factors
from larvae.errors import InvalidInputError
from larvae.streams import Stream
from larvae.training import Trainer

STEPS = 5
"""Values of each factor that are shown, where it has so many; the paper's figures have five."""

_GAP, _LINE = 4, 12  # pixels between images, and above them for text


class Traversal(NamedTuple):
    """One factor varied."""

    factor: str
    value_names: tuple[str, ...]
    """What the varied label stands for, image by image."""
    images: NDArray[np.uint8]
    """(steps, channels, 64, 64), 0 to 255."""


def traversed_classes(factors: Factors, name: str, steps: int = STEPS) -> NDArray[np.int64]:
    """Real values of a factor, evenly spaced: from first to last, or once around where it goes round.

    Returns at most `steps` class indices, ascending: all of a factor that has no more.
    """
    size = factors.sizes[factors.columns([name])[0]]
    if period := factors.periods.get(name):
        count = min(steps, period)
        return np.arange(count) * period // count
    return np.round(np.linspace(0, size - 1, min(steps, size))).astype(np.int64)


def reference_index(num_images: int, seed: int) -> int:
    """The image whose label is traversed unless another is chosen: the same for all members of a seed."""
    return int(streams.generator(seed, Stream.TRAVERSAL).integers(num_images))


def traverse(trainer: Trainer, reference: int, factors: Sequence[str] = (), steps: int = STEPS) -> list[Traversal]:
    """Vary one label after another of an image of the data set.

    factors: names of those to vary, each one that y stands for; none means all of them.
    Raises InvalidInputError where a factor is unknown or has no label.
    """
    traversals = []
    for name in factors or trainer.labels.names:
        varied = varied_classes(trainer.label_classes(np.array([reference]))[0], trainer.labels, name, steps)
        column = trainer.labels.columns([name])[0]
        value_names = tuple(trainer.labels.value_name(name, int(c)) for c in varied[:, column])
        images = trainer.decode(trainer.labels.standardise(varied), _nuisance(trainer, reference))
        traversals.append(Traversal(name, value_names, images))
    return traversals


def traverse_data(dataset: Dataset, reference: int, factors: Sequence[str], steps: int = STEPS) -> list[Traversal]:
    """The data set's own images of the same classes, what a perfect decoder would show.

    Raises InvalidInputError where a factor is unknown, or where not all combinations of factors have an image.
    """
    if not isinstance(dataset.factors, FactorGrid):
        raise InvalidInputError(
            f"only a data set with all combinations of factors has them, got {dataset.specification.name}"
        )
    traversals = []
    for name in factors:
        varied = varied_classes(dataset.classes(np.array([reference]))[0], dataset.factors, name, steps)
        value_names = tuple(
            dataset.factors.value_name(name, int(c)) for c in varied[:, dataset.factors.columns([name])[0]]
        )
        images = dataset.pictures(dataset.factors.indices(varied))
        traversals.append(Traversal(name, value_names, images))
    return traversals


def varied_classes(classes: NDArray[np.integer], factors: Factors, name: str, steps: int) -> NDArray[np.integer]:
    """One image's class indices (k,), again for each value of one factor that is shown, (steps, k)."""
    return factors.varied(classes, name, traversed_classes(factors, name, steps))


def reference_image(dataset: Dataset, reference: int) -> NDArray[np.uint8]:
    """An image of the data set (channels, 64, 64), 0 to 255."""
    return dataset.pictures(np.array([reference]))[0]


def traversal_png(trainer: Trainer, reference: int) -> bytes:
    """All traversals of a member as a PNG file: a row a factor, the reference on the left."""
    first = reference_image(trainer.dataset, reference)
    traversals = traverse(trainer, reference)
    columns = 1 + max(len(traversal.images) for traversal in traversals)
    size = first.shape[-1]
    row_height = size + _LINE + _GAP
    sheet = Image.new("RGB", (columns * (size + _GAP) + _GAP, len(traversals) * row_height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for row, traversal in enumerate(traversals):
        cells = zip((traversal.factor, *traversal.value_names), (first, *traversal.images), strict=True)
        for column, (text, image) in enumerate(cells):
            left, top = _GAP + column * (size + _GAP), _GAP + row * row_height
            draw.text((left, top - 1), text[:11], fill="black")
            sheet.paste(as_picture(image), (left, top + _LINE))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def as_picture(image: NDArray[np.uint8]) -> Image.Image:
    """An image (channels, 64, 64), 0 to 255, of one or three channels, as Pillow has it."""
    return Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2))


def _nuisance(trainer: Trainer, reference: int) -> NDArray[np.float32]:
    """z, (|z|,): the prior's mean or, with factors that y does not stand for, the reference's posterior mean."""
    num_labels = trainer.labels.num_factors
    if num_labels == trainer.dataset.factors.num_factors:
        return np.zeros(trainer.num_latents - num_labels, np.float32)
    return trainer.posterior_means(np.array([reference]))[0, num_labels:]
