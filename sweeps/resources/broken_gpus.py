"""GPUs that are there and do not work: whatever is put on one fails within seconds, and then the next."""

from __future__ import annotations

import os

import torch

from larvae.errors import one_line
from larvae.out_of_memory import is_out_of_memory

HELD_SECONDS = 600.0
"""Seconds for which a trial keeps such a GPU, so that no other one gets it; it may be reset meanwhile."""


class BrokenGpuError(OSError):
    """Nothing can be computed on a process's GPU: a fault of its machine, which others need not have."""


def require_working_gpu() -> None:
    """Compute something on this process's GPU. Raises BrokenGpuError where that fails, but for want of memory."""
    try:
        torch.ones(1, device="cuda").sum().item()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        number = os.environ.get("CUDA_VISIBLE_DEVICES") or "0"
        raise BrokenGpuError(f"GPU {number} must compute, but {one_line(error)}") from error
