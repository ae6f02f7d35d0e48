"""Errors by whose they are: a GPU that is out of memory has several, and none is the fault of the member it ends."""

from __future__ import annotations

import torch

TEXTS = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "[CUDA]: out of memory",  # Triton, which loads kernels itself
    "CUDA_ERROR_OUT_OF_MEMORY",
    "cudaErrorMemoryAllocation",
    "_ALLOC_FAILED",  # CUBLAS_STATUS_, CUDNN_STATUS_, CUSOLVER_STATUS_
    "CUBLAS_STATUS_NOT_INITIALIZED",  # of cublasCreate, which has no memory for its handle
    "CUDNN_STATUS_NOT_INITIALIZED",
    "unable to find an engine to execute this computation",  # cuDNN's, where no way to convolve gets its workspace
)
"""Texts of errors of PyTorch, CUDA and its libraries by which a GPU tells that its memory is full.

Discussed in https://github.com/pytorch/pytorch/issues/128601 and, of cuDNN, in issues/108645 there.
"""


_TEXTS_OF_CUDA = ("CUDA error:", "CUDA driver error:", "[CUDA]:")  # the last one is Triton's
_CUDAS = getattr(torch, "AcceleratorError", ())  # PyTorch has it from 2.8 on


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is a GPU's that is out of memory: only PyTorch's own allocator raises the one named so."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in TEXTS)


def is_no_members_own(error: BaseException) -> bool:
    """Tell whether an error is of the process and its machine, to be raised; others end the member that they are of."""
    return is_machines(error) or is_out_of_memory(error) or is_broken_process(error)


def is_broken_process(error: BaseException) -> bool:
    """Tell whether an error of CUDA, memory apart, has ended what its process can do: all later calls meet it, too."""
    is_cudas = isinstance(error, _CUDAS) or any(text in str(error) for text in _TEXTS_OF_CUDA)
    return isinstance(error, RuntimeError) and is_cudas and not is_out_of_memory(error)


def is_machines(error: BaseException) -> bool:
    """Tell whether an error is of files, threads, the network, or a compiler's for such a reason: a full disk, say."""
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):  # CPython's
        return True
    return any(isinstance(cause, OSError) for cause in (error, getattr(error, "inner_exception", None)))
