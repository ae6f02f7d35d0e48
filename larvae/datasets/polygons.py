"""Polygons to pixels in integers, by the rules of graphics hardware (those of Direct3D and of OpenGL drivers).

Vertices lie on a grid of 1/256 pixel. A pixel is set when its centre lies inside or, on the outline, on a left edge or
a top one: so polygons that share an edge never share a pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from larvae.datasets.store import IMAGE_SIZE

SUBPIXELS = 256
"""Places of a vertex within a pixel, along either axis."""
_TO_CENTRE = SUBPIXELS // 2
_WHOLE_ROW = np.uint64(2**IMAGE_SIZE - 1)


def snap(places: NDArray[np.floating]) -> NDArray[np.int32]:
    """Places in pixels to the nearest ones of the grid, in its units."""
    return np.rint(places * SUBPIXELS).astype(np.int32)


def fill(x: NDArray[np.int32], y: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Draw a polygon into each image, packed as `store.pack` packs: bytes (n, 512).

    x, y: vertices (V, n) in units of `snap`, in order around the polygon, inside the image; x to the right, y down.

    A row of an image is one integer. Each edge that passes the row's centre line inverts all pixels from itself on to
    the right: what is inverted an odd number of times is inside.
    """
    bits = np.zeros(x.shape[1] * IMAGE_SIZE, np.uint64)
    images = np.arange(x.shape[1]) * IMAGE_SIZE
    next_x, next_y = np.roll(x, -1, axis=0), np.roll(y, -1, axis=0)
    goes_down = y < next_y
    top_x, top, bottom = np.where(goes_down, x, next_x), np.minimum(y, next_y), np.maximum(y, next_y)
    width, height = np.where(goes_down, next_x - x, x - next_x), bottom - top
    row = (top + _TO_CENTRE - 1) // SUBPIXELS  # the first one whose centre is not above the edge
    for _ in range(height.max(initial=0) // SUBPIXELS + 1):
        centre = row * SUBPIXELS + _TO_CENTRE
        numerator = (top_x - _TO_CENTRE) * height + width * (centre - top)
        column = -(-numerator // np.maximum(height * SUBPIXELS, 1))  # the first one whose centre is not to the left
        inverted = np.where(centre < bottom, _WHOLE_ROW >> column.astype(np.uint64), np.uint64(0))
        for places, pixels in zip(images + np.minimum(row, IMAGE_SIZE - 1), inverted, strict=True):
            bits[places] ^= pixels
        row += 1
    return bits.astype(">u8").view(np.uint8).reshape(x.shape[1], -1)
