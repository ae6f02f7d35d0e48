"""Images on the device of a step: held there and found by index, or sent as they are.

On a GPU a step should be sent nothing but indices: binary images lie there packed, 377 MB for dSprites, rendered ones
as the geometry that they are rendered from, others as bytes where they fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from larvae.datasets import shapes3d_on_device, shapes3d_rendered
from larvae.datasets.layouts import PackedImages, RenderedImages
from larvae.datasets.store import IMAGE_SIZE
from larvae.phases import phase

if TYPE_CHECKING:
    from larvae.datasets import Dataset

RENDERERS = {shapes3d_rendered.render: (shapes3d_on_device.render, shapes3d_on_device.COLOURS)}
"""Functions that render on the host, and those that do the same on a device, with a table that they take there."""
_SLICE = 4096  # images decompressed at a time


class Receiver(Protocol):
    """Makes images of what is sent to a device."""

    def images(self, sent: Tensor) -> Tensor:
        """Images (…, C, 64, 64), float32 in [0, 1], of indices (…) or pixels (…, C, 64, 64)."""


class Pixels(NamedTuple):
    """Takes images as they are, uint8."""

    maximum: int
    """The value of a white pixel."""

    def images(self, sent: Tensor) -> Tensor:
        return sent.float() if self.maximum == 1 else sent.float() / self.maximum


class Packed(NamedTuple):
    """Holds binary images packed to bits."""

    packed: Tensor
    """uint8 (N, 512)"""

    def images(self, sent: Tensor) -> Tensor:
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=sent.device)  # the first pixel is the highest bit
        bits = (self.packed[sent][..., None] >> shifts) & 1
        return bits.view(*sent.shape, 1, IMAGE_SIZE, IMAGE_SIZE).float()


class Bytes(NamedTuple):
    """Holds images as they are."""

    pixels: Tensor
    """uint8 (N, 3, 64, 64)"""

    def images(self, sent: Tensor) -> Tensor:
        return self.pixels[sent].float() / 255


class Rendered(NamedTuple):
    """Holds a geometry, and renders images from it."""

    render: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Indices, geometry and colours to images, float32, of whole numbers from 0 to 255."""
    geometry: Tensor
    colours: Tensor

    def images(self, sent: Tensor) -> Tensor:
        return self.render(sent, self.geometry, self.colours) / 255


class Images(NamedTuple):
    """A store's images on a device."""

    receiver: Receiver
    send: Callable[[NDArray[np.integer]], NDArray[Any]]
    """Images at some indices as the receiver takes them: the indices, or the images."""


_KEPT: dict[tuple[str, torch.device], Receiver] = {}


def images_on(dataset: Dataset, device: torch.device) -> Images:
    """A data set's images on a device; on a GPU they are shared by all members of a process."""
    if device.type == "cpu":
        return Images(Pixels(dataset.maximum), dataset.images)
    key = (dataset.fingerprint, device)
    if key not in _KEPT:
        _KEPT.clear()  # one data set at a time: the memory is the models'
        _KEPT[key] = receiver(dataset, device, _free_bytes(device))
    kept = _KEPT[key]
    return Images(kept, dataset.images if isinstance(kept, Pixels) else lambda indices: indices)


def receiver(dataset: Dataset, device: torch.device, free_bytes: int) -> Receiver:
    """Put a data set's images on a device. As bytes they take a third of the free ones there at most, else none."""
    store = dataset.store
    if isinstance(store, PackedImages):
        return Packed(torch.from_numpy(np.array(store.packed)).to(device))
    if isinstance(store, RenderedImages) and store.specification.render in RENDERERS:
        render, colours = RENDERERS[store.specification.render]
        tables = (torch.from_numpy(np.array(table)).to(device) for table in (store.geometry, colours))
        return Rendered(render, *tables)
    shape = (dataset.num_images, dataset.channels, IMAGE_SIZE, IMAGE_SIZE)
    if dataset.maximum == 1 or np.prod(shape) > free_bytes / 3:
        return Pixels(dataset.maximum)
    pixels = torch.empty(shape, dtype=torch.uint8, device=device)
    with phase("bringing images to the GPU"):
        for start in range(0, dataset.num_images, _SLICE):
            indices = np.arange(start, min(start + _SLICE, dataset.num_images))
            pixels[start : start + _SLICE] = torch.from_numpy(dataset.images(indices)).to(device)
    return Bytes(pixels)


def _free_bytes(device: torch.device) -> int:
    """Bytes of a GPU that this process may still take: others may be there, and it may be held to a share."""
    free, total = torch.cuda.mem_get_info(device)
    # Of the process's own device: it takes none without an index, such as `cuda`. PyTorch 2.6 has no such function.
    share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda: 1.0)()
    return min(free, int(share * total) - torch.cuda.memory_reserved(device))
