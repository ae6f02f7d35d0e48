"""A process's share of a GPU's memory."""

from __future__ import annotations

import torch

CONTEXT_BYTES = 0.5 * 10**9
"""Bytes that a process's CUDA context takes of a GPU."""


def cap_gpu_memory(gpus: float) -> None:
    """Hold this process to its share of a GPU: what it takes beyond that fails here, and not in its neighbour."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(0.01, min(1.0, gpus) - CONTEXT_BYTES / total))
