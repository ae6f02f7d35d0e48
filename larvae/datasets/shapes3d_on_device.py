"""Renders the look-alike of 3D Shapes on the device of a step: `shapes3d_rendered.render` is the text to read."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from larvae.datasets.shapes3d_rendered import GRID, HIGHLIGHT, HUE_COLOURS, ONE, SKY, ZERO
from larvae.datasets.store import IMAGE_SIZE

COLOURS = np.concatenate([HUE_COLOURS, [SKY, HIGHLIGHT]]).astype(np.int32)
"""The ten hues' colours, the sky's and the highlight's, (12, 3)."""
_GEOMETRIES = int(np.prod(GRID.sizes[3:]))


def render(indices: Tensor, geometry: Tensor, colours: Tensor) -> Tensor:
    """Images (…, 3, 64, 64) of image indices (…), float32 of whole numbers: to the byte those of the host.

    geometry: `geometry_table()`. colours: `COLOURS`. All is whole numbers: a GPU's division need not round as a CPU's.
    """
    hues = GRID.sizes[0]
    floor, wall, thing = (indices // (_GEOMETRIES * hues**power) % hues for power in (2, 1, 0))
    shares = geometry[indices % _GEOMETRIES].int().movedim(-1, -3) - ZERO  # [paint, line, column]
    paints = [colours[floor], colours[wall], colours[thing], colours[hues], colours[hues + 1]]
    by_paint = torch.stack([colour.broadcast_to((*indices.shape, 3)) for colour in paints], dim=-1)  # [channel, paint]
    sums = (by_paint[..., None, None] * shares[..., None, :, :, :]).sum(-3)
    doubled = 2 * sums.clamp(min=0) + ONE
    rounded = doubled // (2 * ONE)
    is_odd_tie = (doubled % (2 * ONE) == 0) & (rounded % 2 == 1)  # a half goes to the even neighbour
    return (rounded - is_odd_tie.int()).clamp(max=255).float().view(*indices.shape, 3, IMAGE_SIZE, IMAGE_SIZE)
