"""A picture of a data set: one row a factor, which goes through its classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from larvae.datasets import Dataset
from larvae.datasets.factors import FactorGrid
from larvae.datasets.store import IMAGE_SIZE

COLUMNS = 10
_CANDIDATES = 5000  # images among which those of a rare class are looked for
_GAP = 2
_TEXT_WIDTH = 150
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


class SheetRow(NamedTuple):
    """The images of one factor."""

    factor: str
    values: str
    """Values that the first and the last image show."""
    indices: NDArray[np.int64]


def sheet_rows(dataset: Dataset, generator: np.random.Generator) -> list[SheetRow]:
    """Choose the images to show: up to ten a factor, from its first class to its last.

    On a factor grid the other factors are those of one image, drawn by chance. Elsewhere no two images differ
    in one factor alone: there all images are drawn by chance, the same number of each class.
    """
    base = dataset.classes(generator.integers(dataset.num_images, size=1))
    rows = []
    for factor, size in enumerate(dataset.factors.sizes):
        name = dataset.factors.names[factor]
        shown = np.unique(np.linspace(0, size - 1, COLUMNS).round().astype(np.int64))
        first, last = (dataset.factors.value_name(name, index) for index in (0, size - 1))
        indices = (
            dataset.factors.indices(dataset.factors.varied(base[0], name, shown))
            if isinstance(dataset.factors, FactorGrid)
            else _drawn(dataset, factor, shown, generator)
        )
        rows.append(SheetRow(name, f"{first} to {last}", indices))
    return rows


def contact_sheet(dataset: Dataset, rows: list[SheetRow]) -> Image.Image:
    """Draw rows of images, each behind its factor's name."""
    step = IMAGE_SIZE + _GAP
    width = _TEXT_WIDTH + step * max(len(row.indices) for row in rows)
    sheet = Image.new("RGB", (width, step * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, row in enumerate(rows):
        draw.text((4, line * step + 18), f"{row.factor}\n{row.values}", fill=_INK)
        for column, image in enumerate(dataset.pictures(row.indices)):
            tile = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)).squeeze())
            sheet.paste(tile, (_TEXT_WIDTH + column * step, line * step))
    return sheet


def _drawn(
    dataset: Dataset, factor: int, shown: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    count = min(_CANDIDATES, dataset.num_images)
    candidates = generator.choice(dataset.num_images, count, replace=False)
    classes = dataset.classes(candidates)[:, factor]
    each = COLUMNS // len(shown)
    return np.concatenate([candidates[classes == shown_class][:each] for shown_class in shown])
