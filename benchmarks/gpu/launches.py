"""Counts what a step launches on a GPU, how long that is busy, and how often the host waits for it."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

ON_THE_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of a trace's events that run on the GPU."""
CALLS = ("cuda_runtime", "cuda_driver")
LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch", "cuGraphLaunch")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cuStreamSynchronize")
LONGEST = 12


def profiled(step: Callable[[], object], count: int, device: str, milliseconds: float) -> dict[str, Any]:
    """Profile some steps. milliseconds: of a step that nobody watches, by which the GPU's share is told."""
    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(count):
            step()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    return summary(events, count, milliseconds, os.getpid())


def summary(events: Iterable[dict[str, Any]], count: int, milliseconds: float, main_thread: int) -> dict[str, Any]:
    """Figures of one step, of a trace of some: times of events are microseconds.

    The last wait is the profiler's own, at its end.
    """
    whole = [event for event in events if event.get("ph") == "X"]
    on_gpu = [event for event in whole if event.get("cat") in ON_THE_GPU]
    kernels = [event for event in on_gpu if event["cat"] == "kernel"]
    calls = [event for event in whole if event.get("cat") in CALLS]
    waits = [event for event in calls if event["name"].startswith(WAITS)]
    of_main = sum(str(event["tid"]) == str(main_thread) for event in waits)
    busy = busy_microseconds((event["ts"], event["ts"] + event["dur"]) for event in on_gpu) / count / 1e3
    times: Counter[str] = Counter()
    for event in kernels:
        times[event["name"][:90]] += event["dur"]
    return {
        "kernels_per_step": round(len(kernels) / count, 1),
        "copies_per_step": round((len(on_gpu) - len(kernels)) / count, 1),
        "launches_per_step": round(sum(event["name"].startswith(LAUNCHES) for event in calls) / count, 1),
        "waits_per_step": round(max(0, of_main - 1) / count, 2),
        "waits_of_other_threads_per_step": round((len(waits) - of_main) / count, 2),
        "gpu_busy_milliseconds": round(busy, 3),
        "gpu_busy_share": round(busy / milliseconds, 3),
        "longest_kernels_microseconds": {name: round(t / count, 1) for name, t in times.most_common(LONGEST)},
    }


def busy_microseconds(intervals: Iterable[tuple[float, float]]) -> float:
    """The time that is covered by intervals (start, end), which may overlap."""
    busy, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy
