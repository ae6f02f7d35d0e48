"""Label traversals (Figs. 4, E.3 and E.4): one label varied, the others held, decoded without the image.

The reference is an image of the data set: its label is what is varied, over all that its factor has (Section 5.3),
between classes too. z is the prior's mean, as the labels say all there is to say; where only some factors are labelled,
z is inferred from the reference.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from larvae import streams
from larvae.datasets import Dataset
from larvae.datasets.factors import Factors
from larvae.streams import Stream

if TYPE_CHECKING:  # command lines name STEPS, and need no PyTorch
    from larvae.training import Trainer

STEPS = 5
"""Values of each factor that are shown; the paper's figures have five."""

_GAP, _LINE = 4, 12  # pixels between images, and above them for text


class Traversal(NamedTuple):
    """One factor varied."""

    factor: str
    value_names: tuple[str, ...]
    """Names of the varied label's values, image by image; of a value between two classes, `≈` and the nearest."""
    images: NDArray[np.uint8]
    """(steps, channels, 64, 64), 0 to 255."""


def traversed_values(factors: Factors, name: str, steps: int = STEPS, *, classes: bool = False) -> NDArray[np.float64]:
    """Values of a factor, evenly spaced: from its first class to its last, or once around where it goes round,
    to its last class at most.

    classes: real ones only, at most `steps`: all of a factor that has no more. Else `steps` of them, also between
    classes.
    Returns class indices, ascending; of a value between two classes, by how far it is from either.
    """
    size = factors.sizes[factors.columns([name])[0]]
    period = factors.periods.get(name)
    count = min(steps, period or size) if classes else steps
    # Once around, but to the last class at most: a decoder has seen no label beyond it.
    last = min(period * (count - 1) / count, size - 1) if period else size - 1
    values = np.linspace(0, last, count)
    if classes:
        values = np.floor(values) if period else np.round(values)
    return np.asarray(values, np.float64)


def nearest_class(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """The classes next to some values of `traversed_values`; of two the later one."""
    return np.floor(values + 0.5).astype(np.int64)


def reference_index(num_images: int, seed: int) -> int:
    """The image whose label is traversed unless another is chosen: the same for all members of a seed."""
    return int(streams.generator(seed, Stream.TRAVERSAL).integers(num_images))


def traverse(
    trainer: Trainer, reference: int, factors: Sequence[str] = (), steps: int = STEPS, *, classes: bool = False
) -> list[Traversal]:
    """Vary one label after another of an image of the data set.

    factors: names of those to vary, each one that y stands for; none means all of them. classes: as of
    `traversed_values`.
    Raises InvalidInputError where a factor is unknown or has no label.
    """
    traversals = []
    for name in factors or trainer.sampler.labels.names:
        values = traversed_values(trainer.sampler.labels, name, steps, classes=classes)
        varied = trainer.sampler.labels.varied(trainer.sampler.label_classes(np.array([reference]))[0], name, values)
        images = trainer.decode(trainer.sampler.labels.to_labels(varied), _nuisance(trainer, reference))
        traversals.append(Traversal(name, value_names(trainer.sampler.labels, name, values), images))
    return traversals


def traverse_data(
    dataset: Dataset, reference: int, factors: Sequence[str], steps: int = STEPS, *, classes: bool = False
) -> list[Traversal]:
    """The data set's own images of the nearest classes, what a perfect decoder would show.

    Raises InvalidInputError where a factor is unknown, or where not all combinations of factors have an image.
    """
    grid = dataset.grid
    traversals = []
    for name in factors:
        values = traversed_values(grid, name, steps, classes=classes)
        shown = nearest_class(values) % grid.periods.get(name, grid.num_images)
        varied = grid.varied(grid.classes(np.array([reference]))[0], name, shown)
        traversals.append(Traversal(name, value_names(grid, name, values), dataset.pictures(grid.indices(varied))))
    return traversals


def value_names(factors: Factors, name: str, values: NDArray[np.floating]) -> tuple[str, ...]:
    """The names of values of a factor, with `≈` where they lie between classes; the last of a circle's is its first."""
    size = factors.sizes[factors.names.index(name)]
    return tuple(
        ("≈" if value != index else "") + factors.value_name(name, int(index) % size)
        for value, index in zip(values, nearest_class(values), strict=True)
    )


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
            draw.text((left, top - 1), text.replace("≈", "~")[:11], fill="black")  # the font has no ≈
            sheet.paste(as_picture(image), (left, top + _LINE))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def as_picture(image: NDArray[np.uint8]) -> Image.Image:
    """An image (channels, 64, 64), 0 to 255, of one or three channels, as Pillow has it."""
    return Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2))


def _nuisance(trainer: Trainer, reference: int) -> NDArray[np.float32]:
    """z, (|z|,): the prior's mean or, with factors that y does not stand for, the reference's posterior mean."""
    num_labels = trainer.sampler.labels.num_factors
    if num_labels == trainer.dataset.factors.num_factors:
        return np.zeros(trainer.num_latents - num_labels, np.float32)
    return trainer.posterior_means(np.array([reference]))[0, num_labels:]
