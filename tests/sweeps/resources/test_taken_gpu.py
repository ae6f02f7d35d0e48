"""A GPU is tried before anything is put on it, with CUDA's part played by functions that a test sets."""

from __future__ import annotations

import threading

import pytest
import torch

from sweeps.resources import taken_gpu
from sweeps.resources.missing_gpus import MissingGpuError
from sweeps.resources.taken_gpu import BrokenGpuError, take_gpu
from sweeps.trial.background import Background

OUT_OF_MEMORY = "CUDA error: out of memory"


@pytest.fixture
def capped(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The shares that a process is held to; its GPU computes."""
    shares: list[float] = []
    monkeypatch.setattr(taken_gpu, "cap_gpu_memory", shares.append)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.zeros(1))
    return shares


def take(gpus: float) -> None:
    take_gpu(gpus, Background("test").submit)


def test_a_process_is_held_to_its_share_of_a_gpu_that_works(capped: list[float]) -> None:
    take(0.25)
    take(1)
    assert capped == [0.25]


@pytest.mark.parametrize(
    ("error", "gpus", "expected"),
    [
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), 1, BrokenGpuError),
        (RuntimeError("No CUDA GPUs are available"), 0.5, BrokenGpuError),
        (torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization"), 0.5, BrokenGpuError),
        (RuntimeError("Found no NVIDIA driver on your system."), 0.5, MissingGpuError),
        (AssertionError("Torch not compiled with CUDA enabled"), 0.5, MissingGpuError),
        (RuntimeError(OUT_OF_MEMORY), 0.5, RuntimeError),
        (RuntimeError(OUT_OF_MEMORY), 1, BrokenGpuError),  # no neighbour of this sweep has taken it
    ],
)
def test_whose_fault_an_error_is(
    capped: list[float],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    gpus: float,
    expected: type[Exception],
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(torch, "ones", break_down)
    with pytest.raises(expected) as raised:
        take(gpus)
    assert type(raised.value) is expected
    assert capped == []
    if expected is BrokenGpuError:
        assert str(raised.value).startswith("GPU 3 must compute, but ")


def test_a_gpu_that_does_not_answer_is_broken(capped: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(torch, "ones", lambda *_, **__: hangs.wait())
    monkeypatch.setattr(taken_gpu, "ANSWER_SECONDS", 0.05)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(BrokenGpuError, match="GPU 0 must compute, but has not for"):
        take(1)
    hangs.set()
