"""Label traversals to a figure: a panel a factor, a row a model, a column a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from larvae.traversal import Traversal
from sweeps.analysis import style
from sweeps.analysis.names import written

_COLUMNS = 2  # panels side by side
_GAP = 4  # pixels between images
_TITLE_HEIGHT = 0.3  # inches
_WIDEST_IMAGE = 0.45  # inches
_NAMES_LENGTH = 55
"""Characters that stand beside each other above a panel; of more names, every second is written, or fewer."""


class Model(NamedTuple):
    """A row of every panel."""

    title: str
    traversals: Sequence[Traversal]
    """One a factor, the same factors for all models."""


class TraversalComparison(NamedTuple):
    """The content of a traversal figure."""

    dataset: str
    reference: int
    """Index of the image whose label is varied."""
    reference_image: NDArray[np.uint8]
    """(channels, 64, 64), 0 to 255."""
    models: Sequence[Model]
    training: str = ""
    """Training that all models have in common, in words."""

    @property
    def num_columns(self) -> int:
        """Values of the factor that has most: all panels are so wide, and all images of one size."""
        return max(len(traversal.images) for traversal in self.models[0].traversals)

    @property
    def notes(self) -> list[str]:
        """Lines under the panels."""
        rows = "; ".join(f"{row}: {model.title}" for row, model in enumerate(self.models, start=1))
        heading = f"{written(self.dataset)}, label of image {self.reference} (left), one factor varied. Rows: {rows}."
        return [heading, *([f"Trained alike: {self.training}."] if self.training else [])]


def panel_picture(comparison: TraversalComparison, factor: int) -> NDArray[np.uint8]:
    """One factor's panel, RGB (height, width, 3): the reference on the left, a row a model, white between images."""
    rows = [model.traversals[factor].images for model in comparison.models]
    size = comparison.reference_image.shape[-1]
    pitch = size + _GAP
    height = len(rows) * pitch - _GAP
    picture = np.full((height, (1 + comparison.num_columns) * pitch + _GAP, 3), 255, np.uint8)
    top = (height - size) // 2
    picture[top : top + size, :size] = np.moveaxis(comparison.reference_image, 0, 2)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            left = (1 + column) * pitch + _GAP
            picture[row * pitch : row * pitch + size, left : left + size] = np.moveaxis(image, 0, 2)
    return picture


def draw_panel(ax: Axes, comparison: TraversalComparison, factor: int) -> Axes:
    """One factor's panel with the values above its columns and the rows' numbers beside them."""
    picture = panel_picture(comparison, factor)
    first = comparison.models[0].traversals[factor]
    size = comparison.reference_image.shape[-1]
    pitch = size + _GAP
    ax.imshow(picture, interpolation="nearest")
    ax.set_title(first.factor.replace("_", " "), fontsize=8, pad=11)
    every = math.ceil((1 + max(map(len, first.value_names))) * len(first.value_names) / _NAMES_LENGTH)
    for column, name in enumerate(first.value_names):
        if column % every:
            continue
        ax.text((1 + column) * pitch + _GAP + size / 2, -4, name, ha="center", va="bottom", fontsize=5.5)
    for row in range(len(comparison.models)):
        right = (1 + len(first.images)) * pitch + _GAP
        ax.text(right, row * pitch + size / 2, f"{row + 1}", va="center", fontsize=5.5, color=style.GREY)
    ax.set_axis_off()
    return ax


def draw_traversals(comparison: TraversalComparison) -> Figure:
    """All panels, two side by side."""
    num_panels = len(comparison.models[0].traversals)
    num_rows = -(-num_panels // _COLUMNS)
    image_width = min(_WIDEST_IMAGE, style.TEXT_WIDTH / _COLUMNS / (1.3 + comparison.num_columns))
    with mpl.rc_context(style.STYLE):
        panel_height = len(comparison.models) * image_width * 1.06 + _TITLE_HEIGHT
        figure = style.figure_with_notes(num_rows * panel_height, comparison.notes)
        axes = figure.subplots(num_rows, _COLUMNS, squeeze=False).ravel()
        for factor in range(num_panels):
            draw_panel(axes[factor], comparison, factor)
        for ax in axes[num_panels:]:
            ax.set_axis_off()
    return figure
