"""When a step is captured and when it is run as it is, with CUDA's part played by Python."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from larvae.advice import advice_taken
from larvae.together import captured
from larvae.together.captured import WARM_UP, Captured


class Cuda:
    """Streams, and graphs whose capture ends by the error of its end where their body has one."""

    def __init__(self) -> None:
        self.current: Any = "default"
        self.replayed = 0
        self.CUDAGraph = lambda: SimpleNamespace(replay=self.replay)
        self.pools: list[tuple[str, int, object]] = []

    def Stream(self) -> Any:  # noqa: N802
        return SimpleNamespace(wait_stream=lambda other: None)

    def current_stream(self) -> Any:
        return SimpleNamespace(wait_stream=lambda other: None, stream=self.current)

    def set_stream(self, stream: Any) -> None:
        self.current = stream.stream

    def synchronize(self) -> None: ...

    def current_device(self) -> int:
        return 0

    def graph_pool_handle(self) -> tuple[int, int]:
        return (0, 7)

    def _cuda_endAllocateToPool(self, device: int, pool: object) -> None:  # noqa: N802
        self.pools.append(("ended", device, pool))

    def _cuda_releasePool(self, device: int, pool: object) -> None:  # noqa: N802
        self.pools.append(("released", device, pool))

    def replay(self) -> None:
        self.replayed += 1

    @contextlib.contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def graph(self, graph: object, *, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        self.current = "side"
        try:
            yield
        finally:
            if self.fault is not None:
                raise RuntimeError("operation failed due to a previous error during capture")
        self.current = "default"

    fault: Exception | None = None


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda()
    monkeypatch.setattr(captured, "torch", SimpleNamespace(cuda=made, _C=made))
    return made


def test_a_warm_function_is_captured_once_and_replayed(cuda: Cuda) -> None:
    calls: list[int] = []
    run = Captured(lambda: calls.append(1))
    for _ in range(WARM_UP + 5):
        run()
    assert run.is_captured
    assert (len(calls), cuda.replayed, cuda.current) == (WARM_UP + 1, 5, "default")
    assert cuda.pools == []


def fail_when_captured(cuda: Cuda, error: Exception) -> None:
    if cuda.current == "side":
        cuda.fault = error
        raise error


def test_what_no_graph_can_hold_runs_as_it_is_and_its_own_error_is_told(cuda: Cuda) -> None:
    run = Captured(lambda: fail_when_captured(cuda, RuntimeError("a copy to the host")))
    with advice_taken() as advice:
        for _ in range(WARM_UP + 3):
            run()
    assert not run.is_captured
    assert (cuda.current, cuda.replayed) == ("default", 0)
    assert cuda.pools == [("ended", 0, (0, 7)), ("released", 0, (0, 7))]  # else no later group could be captured
    assert advice == ["the step runs without a CUDA graph, which is slower: RuntimeError: a copy to the host"]


def test_a_capture_that_runs_out_of_memory_raises_that(cuda: Cuda) -> None:
    run = Captured(lambda: fail_when_captured(cuda, torch.OutOfMemoryError("CUDA out of memory")))
    for _ in range(WARM_UP):
        run()
    with pytest.raises(torch.OutOfMemoryError):
        run()
    assert cuda.current == "default"
