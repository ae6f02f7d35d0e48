"""Decodes image files one by one and brings them to 64×64."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from larvae.datasets import damage, writing
from larvae.datasets.listing import Read
from larvae.datasets.specification import Crop
from larvae.datasets.store import IMAGE_SIZE


def read_folder(folder: Path) -> Read:
    """Reads files of a folder."""
    return lambda name: (folder / name).read_bytes()


def decode(content: bytes, size: tuple[int, int], crop: Crop | None = None) -> NDArray[np.uint8]:
    """Decode an image file and bring it to 64×64.

    size: width and height that it must have. crop: what to cut out before.
    Returns uint8 (64, 64, 3). Pixels are averaged over all that they replace, with weights that fall off linearly
    (Pillow's bilinear filter): bilinear interpolation of four neighbours alone would let small things flicker.
    Raises ValueError where the file is no such image.
    """
    with Image.open(io.BytesIO(content)) as image:
        if image.size != size:
            raise ValueError(f"it must have {size[0]}×{size[1]} pixels, got {image.size[0]}×{image.size[1]}")
        colour = image.convert("RGB")
    if crop is not None:
        left, top = crop.x - crop.size // 2, crop.y - crop.size // 2
        colour = colour.crop((left, top, left + crop.size, top + crop.size))  # first: the filter must not see beyond
    return np.asarray(colour.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))


def batches(
    read: Read, names: Sequence[str], size: tuple[int, int], crop: Crop | None = None
) -> Iterator[Callable[[], NDArray[np.uint8]]]:
    """Tasks that decode files in the order of their names, for `writing.write_colour`.

    A task raises InvalidInputError, naming the file, where one is missing or no image of that size.
    """

    def decode_some(some: Sequence[str]) -> NDArray[np.uint8]:
        return np.stack([_decode_named(read, name, size, crop) for name in some])

    for start in range(0, len(names), writing.IMAGES_PER_BATCH):
        yield partial(decode_some, names[start : start + writing.IMAGES_PER_BATCH])


def _decode_named(read: Read, name: str, size: tuple[int, int], crop: Crop | None) -> NDArray[np.uint8]:
    with damage.told(f"the image `{name}` must be a whole one"):
        return decode(read(name), size, crop)
