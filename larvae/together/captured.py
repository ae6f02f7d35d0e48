"""A function of tensors that stay where they are, as one CUDA graph: launched at once, with no work of the host's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from larvae.advice import advise
from larvae.errors import one_line
from larvae.out_of_memory import is_out_of_memory

WARM_UP = 11
"""Calls before a function is captured: libraries and compilers are ready then. PyTorch asks for so many."""

_ENDS = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")
"""Names of the end of an allocation to a pool, the latter before PyTorch 2.8."""


class Captured:
    """Calls a function as it is until it is warm, and replays what it launches from then on.

    Where it cannot be captured it is called as it is for ever, with a warning.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._function, self._calls = function, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._side = torch.cuda.Stream()
        self._is_refused = False

    @property
    def is_captured(self) -> bool:
        """True once calls are replayed."""
        return self._graph is not None

    def __call__(self) -> None:
        """Launch the function; returns before the GPU has finished it."""
        self._calls += 1
        if self._calls > WARM_UP and self._graph is None and not self._is_refused:
            self._capture()
        if self._graph is not None:
            self._graph.replay()
            return
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            self._function()
        torch.cuda.current_stream().wait_stream(self._side)

    def _capture(self) -> None:
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        before = torch.cuda.current_stream()
        torch.cuda.synchronize()
        try:
            # The thread that makes inputs waits for copies meanwhile, which is no business of the graph's.
            with torch.cuda.graph(graph, pool=pool, stream=self._side, capture_error_mode="thread_local"):
                self._function()
            self._graph = graph
        except RuntimeError as error:  # of CUDA, or of an operation that no graph can hold
            # Where the capture's end fails, too, PyTorch leaves the other stream, and its allocator capturing.
            torch.cuda.set_stream(before)
            with contextlib.suppress(RuntimeError):
                next(filter(None, (getattr(torch._C, name, None) for name in _ENDS)))(torch.cuda.current_device(), pool)
                torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
            # The error of that end tells nothing of what has led to it.
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            if is_out_of_memory(error) or is_out_of_memory(cause):
                raise cause from None
            self._is_refused = True
            advise(f"the step runs without a CUDA graph, which is slower: {one_line(cause)}")
