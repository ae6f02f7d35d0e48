"""Feeds a group its draws: made when they are asked for or, on a GPU, ahead of time by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from larvae.inputs import Draws, Sampler

AHEAD = 8
"""Iterations that are made ahead of time."""
_ALIGNMENT = 64  # bytes; kernels want 16


class _Place(NamedTuple):
    """The place of one of the draws in a buffer."""

    start: int
    stop: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Packing:
    """Lays the draws of a group out in one buffer, so that one copy brings them to the device."""

    def __init__(self, example: Draws, members: int) -> None:
        """example: draws of one member; those of the others have the same shapes."""
        self.places: list[_Place | None] = []
        self.num_bytes = 0
        for array in example:
            if array is None:
                self.places.append(None)
                continue
            size = members * array.nbytes
            self.places.append(_Place(self.num_bytes, self.num_bytes + size, array.dtype, (members, *array.shape)))
            self.num_bytes += -(-size // _ALIGNMENT) * _ALIGNMENT

    def arrays(self, buffer: NDArray[np.uint8]) -> Draws:
        """The draws in a buffer of bytes, as views."""
        views = (p and buffer[p.start : p.stop].view(p.dtype).reshape(p.shape) for p in self.places)
        return Draws(*views)

    def tensors(self, buffer: Tensor) -> Draws:
        """The draws in a buffer of bytes, uint8, as views."""
        kinds = {p.dtype: torch.from_numpy(np.empty(0, p.dtype)).dtype for p in self.places if p}
        views = (p and buffer[p.start : p.stop].view(kinds[p.dtype]).view(p.shape) for p in self.places)
        return Draws(*views)


class _Slot:
    """A buffer on the host, and the moment at which the device has read it."""

    def __init__(self, packing: Packing, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self.buffer = torch.zeros(packing.num_bytes, dtype=torch.uint8, pin_memory=on_gpu)
        self.arrays = packing.arrays(self.buffer.numpy())
        self.is_read = torch.cuda.Event(blocking=True) if on_gpu else None


class Feed:
    """The draws of a group's iterations, one after the other, at one place on the device."""

    def __init__(
        self, samplers: Sequence[Sampler], iterations: Sequence[int], device: torch.device, ahead: int
    ) -> None:
        """iterations: of each member, to begin with. ahead: iterations that a thread makes in advance; 0 for none."""
        self.samplers, self.ahead = list(samplers), ahead
        self.packing = Packing(samplers[0].draws(iterations[0]), len(samplers))
        self._buffer = torch.zeros(self.packing.num_bytes, dtype=torch.uint8, device=device)
        self.draws = self.packing.tensors(self._buffer)
        """The draws of the iteration that `advance` has come to."""
        self._slots = [_Slot(self.packing, device) for _ in range(max(1, ahead))]
        self._thread: threading.Thread | None = None
        self.restart(self.samplers, iterations)

    def restart(self, samplers: Sequence[Sampler], iterations: Sequence[int]) -> None:
        """Go on with other members or iterations, of the same shapes."""
        self.stop()
        self.samplers, self._iterations = list(samplers), list(iterations)
        self._free: queue.Queue[_Slot | None] = queue.Queue()
        self._ready: queue.Queue[_Slot | BaseException] = queue.Queue()
        for slot in self._slots:
            self._free.put(slot)

    def advance(self) -> None:
        """Bring the next iteration's draws to the device. Raises what has kept them from being made."""
        if self.ahead:
            if self._thread is None:  # not before: samplers, which have one generator each, may draw for others
                self._thread = threading.Thread(target=self._fill_ahead, name="inputs", daemon=True)
                self._thread.start()
            slot = self._ready.get()
            if isinstance(slot, BaseException):
                raise slot
        else:
            slot = self._slots[0]
            self._fill(slot)
        self._buffer.copy_(slot.buffer, non_blocking=True)
        if slot.is_read is not None:
            slot.is_read.record()
        self._free.put(slot)

    def stop(self) -> None:
        """End the thread, if there is one."""
        if self._thread is not None:
            self._free.queue.clear()
            self._free.put(None)
            self._thread.join()
            self._thread = None

    def _fill_ahead(self) -> None:
        try:
            while (slot := self._free.get()) is not None:
                self._fill(slot)
                self._ready.put(slot)
        except Exception as error:  # whatever it is, the step that needs the draws must end by it
            self._ready.put(error)

    def _fill(self, slot: _Slot) -> None:
        """Put the next iteration of each member into a slot."""
        if slot.is_read is not None:
            slot.is_read.synchronize()
        made: dict[Any, Any] = {}
        for member, (sampler, iteration) in enumerate(zip(self.samplers, self._iterations, strict=True)):
            for array, place in zip(sampler.draws(iteration, made), slot.arrays, strict=True):
                if place is not None:
                    place[member] = array
            self._iterations[member] += 1
