"""Images that lie packed in a GPU's memory, so that a step sends it only indices."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from larvae.datasets.layouts import ImageStore, PackedImages
from larvae.datasets.store import IMAGE_SIZE


class PackedOnDevice:
    """Binary images packed to bits on a device: 377 MB for dSprites, once a process."""

    def __init__(self, images: PackedImages, device: torch.device) -> None:
        self.packed = torch.from_numpy(np.array(images.packed)).to(device)
        self.shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)  # the first pixel is the highest bit

    def images(self, indices: NDArray[np.integer]) -> Tensor:
        """The images (n, 1, 64, 64) at the given indices, float32 in {0, 1}."""
        rows = self.packed[torch.from_numpy(indices).to(self.packed.device)]
        bits = (rows[:, :, None] >> self.shifts) & 1
        return bits.view(len(indices), 1, IMAGE_SIZE, IMAGE_SIZE).float()


_KEPT: dict[tuple[str, torch.device], PackedOnDevice] = {}


def on_device(store: ImageStore, device: torch.device) -> PackedOnDevice | None:
    """A store's images on a GPU, shared by all members of a process; None where they are not packed, or for a CPU."""
    if device.type == "cpu" or not isinstance(store, PackedImages):
        return None
    key = (store.fingerprint, device)
    if key not in _KEPT:
        _KEPT.clear()  # one data set at a time: the memory is the models'
        _KEPT[key] = PackedOnDevice(store, device)
    return _KEPT[key]
