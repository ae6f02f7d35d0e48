"""A process's share of a GPU, which is tried before a member's work: on one that does not work, each would fail."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable

import torch

from larvae.errors import one_line
from larvae.out_of_memory import is_out_of_memory
from sweeps.resources.gpu_memory import cap_gpu_memory
from sweeps.resources.missing_gpus import MissingGpuError

HELD_SECONDS = 600.0
"""Seconds for which a trial keeps a GPU that does not work, so that no other one gets it; it may be reset meanwhile."""
ANSWER_SECONDS = 90.0
"""Seconds that a GPU has for an answer: less than those after which a silent trial is started again."""


class BrokenGpuError(OSError):
    """Nothing can be computed on a process's GPU: a fault of its machine, which others need not have."""


def take_gpu(gpus: float, submit: Callable[[Callable[[], None]], concurrent.futures.Future[None]]) -> None:
    """Compute something on this process's GPU, and hold the process to its share. submit: has work done by a thread.

    Raises MissingGpuError where PyTorch has no CUDA or no driver that suits it, BrokenGpuError where the GPU is gone,
    does not answer or cannot compute, and what PyTorch raises where neighbours have left it no memory.
    """

    def compute() -> None:
        torch.ones(1, device="cuda").sum().item()
        if gpus < 1:
            cap_gpu_memory(gpus)

    try:
        submit(compute).result(ANSWER_SECONDS)
    except TimeoutError:
        raise _broken(f"has not for {ANSWER_SECONDS:.0f} s") from None
    except Exception as error:  # PyTorch's have no class in common
        if isinstance(error, AssertionError) or "driver on your system" in str(error):
            raise MissingGpuError from error
        if is_out_of_memory(error) and gpus < 1:
            raise
        raise _broken(one_line(error)) from error


def _broken(reason: str) -> BrokenGpuError:
    return BrokenGpuError(f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES') or '0'} must compute, but {reason}")
