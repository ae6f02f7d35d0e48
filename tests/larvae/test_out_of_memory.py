"""One function decides what is out of memory: the texts are those of real errors."""

from __future__ import annotations

import pytest
import torch

from larvae.out_of_memory import is_broken_process, is_no_members_own, is_out_of_memory

AcceleratorError = getattr(torch, "AcceleratorError", RuntimeError)
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("backend='inductor' raised:\nOutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB"),
]
OTHERS = [
    RuntimeError("its process died 4 times after iteration 0 (killed, out of memory, or its node lost)"),
    ValueError("CUDA out of memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FULL)
def test_a_full_gpu_is_known_by_whatever_it_raises(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert is_no_members_own(error)


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_are_the_members_own(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert not is_no_members_own(error)


def test_a_broken_process_is_no_members_own() -> None:
    """After an error of CUDA's, all calls of the process meet it; one of memory is another matter."""
    texts = ("CUDA error: ECC", "CUDA driver error: unknown error", "Triton Error [CUDA]: an illegal memory access")
    for error in (AcceleratorError("CUDA error: an illegal memory access"), *map(RuntimeError, texts)):
        assert is_broken_process(error)
        assert is_no_members_own(error)
    for error in (RuntimeError("CUDA error: out of memory"), RuntimeError("loss is NaN"), ValueError("CUDA error: no")):
        assert not is_broken_process(error)


def test_a_machines_fault_is_no_members_own() -> None:
    assert is_no_members_own(OSError("No space left on device"))
    assert not is_out_of_memory(OSError("No space left on device"))
