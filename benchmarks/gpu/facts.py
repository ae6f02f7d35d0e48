"""Step 1: the host, how fast it copies and multiplies, and every way against float32 on the CPU, with its launches."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from gpu.measuring import of_own_seeds, row
from gpu.processes import MPS, ProcessFailedError, alone
from gpu.rows import Figures, Row, Settings
from larvae.compiling import can_compile
from larvae.files import load_json

PACKAGES = ("numpy", "h5py", "pooch", "platformdirs", "triton", "ray", "mlflow", "optuna", "scikit-learn")
NVIDIA_SMI = (
    "nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,mig.mode.current --format=csv,noheader"
)


def rows(settings: Settings) -> list[Row]:
    """The rows, the most informative first."""
    members = settings.in_small(8, 2)
    seconds, profiled = min(settings.seconds, 3.0), settings.in_small(20, 2)

    def way(name: str, count: int, at_least: float) -> Row:
        return row(name, of_own_seeds(count), settings, at_least=at_least, profiled=profiled, seconds=seconds)

    return [
        Row("the host", host, 0),
        Row("copies and products", lambda: alone(copies_and_products, settings, settings.timeout)),
        way("group", members, 60),
        way("eager", 1, 20),
        way("textbook", 1, 20),
        way("vmap", members, 30),
        Row("the host's share of a step", lambda: host_cost(settings), 20),
        way("compiled", 1, 60),
        way("vmap-compiled", members, 60),
    ]


def host() -> Figures:
    """This machine and its software."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(_module(name))}
    card = ""
    if shutil.which("nvidia-smi"):
        card = subprocess.run(NVIDIA_SMI.split(), capture_output=True, text=True, timeout=60).stdout.strip()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gigabytes": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "nvidia_smi": card,
        "packages": versions,
        "missing": [name for name in PACKAGES if name not in versions],
        "can_compile": can_compile(),
        "has_mps": shutil.which(MPS) is not None,
    }


def copies_and_products(settings: Settings) -> Iterator[Figures]:
    """Bytes a second of a copy, read and written, and FLOP a second of a product, at best of ten."""
    device = torch.device(settings.device)
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    size, words = settings.in_small(8192, 256), settings.in_small(2**30, 2**20)
    source, target = torch.ones(words, device=device), torch.empty(words, device=device)
    seconds = _best_seconds(lambda: target.copy_(source), synchronise)
    found = {"copied_terabytes_per_second": round(2 * source.nbytes / seconds / 1e12, 3)}
    for precision in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
        seconds = _best_seconds(partial(torch.matmul, a, b), synchronise)
        name = str(precision).removeprefix("torch.")
        found[f"{name}_product_teraflop_per_second"] = round(2 * size**3 / seconds / 1e12, 2)
    pinned = torch.zeros(2**20, pin_memory=device.type == "cuda")
    sent = torch.empty(2**20, device=device)
    seconds = _best_seconds(lambda: sent.copy_(pinned, non_blocking=True), synchronise)
    yield found | {"pinned_4_megabytes_gigabytes_per_second": round(pinned.nbytes / seconds / 1e9, 2)}


def host_cost(settings: Settings) -> Figures:
    """The figures of `host_cost.py`: the main thread and the inputs of a group's step, without its arithmetic."""
    script = Path(__file__).parents[1] / "host_cost.py"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "host_cost.json"
        flags = ["--members", settings.in_small("8", "2"), "--iterations", settings.in_small("100", "3")]
        command = [sys.executable, str(script), *flags, "--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=settings.timeout)
        if done.returncode:
            raise ProcessFailedError(done.stderr.strip().rpartition("\n")[2])
        return {name: value for name, value in load_json(output).items() if "microseconds" in name or name == "members"}


def _best_seconds(run: Callable[[], object], synchronise: Callable[[], None]) -> float:
    seconds = []
    for _ in range(13):  # three of them warm up, and are slower
        synchronise()
        started = time.perf_counter()
        run()
        synchronise()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _module(package: str) -> str:
    return {"scikit-learn": "sklearn"}.get(package, package)
