"""Nodes as they would answer a preflight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeps.preflight.checks import Demand
from sweeps.preflight.gathering import Node
from sweeps.preflight.nodes import NEEDED, Facts, Gpu

FACTS = Facts(
    host="h",
    python="3.11.7",
    packages=dict.fromkeys(NEEDED, "2.0.0"),
    code="c0de",
    storage="",
    cache="",
    prepared=(),
    free_bytes=50 * 10**9,
    tracking="",
    gpus=(),
)
DEMAND = Demand(Path("/shared"), "http://mlflow:5000", ("dsprites.h5",), cpus=1, gpus=0.0)
V100_16 = Gpu("NVIDIA Tesla V100-SXM2-16GB", 16_151 * 2**20, "sm_70", is_supported=True)
V100_32 = Gpu("NVIDIA Tesla V100-SXM2-32GB", 32_501 * 2**20, "sm_70", is_supported=True)
RTX_2080 = Gpu("NVIDIA GeForce RTX 2080", 7_982 * 2**20, "sm_75", is_supported=True)


def node(address: str = "10.0.0.1", facts: Facts | None = FACTS, **changes: Any) -> Node:
    """A node of 8 CPUs with which nothing is wrong, but for some changes."""
    healthy = Node(address, address, {"CPU": 8.0}, facts, "", 0.0, ())
    return healthy._replace(**changes)


def gpu_node(address: str, gpu: Gpu, number: int, **resources: float) -> Node:
    """A node of 64 CPUs and some GPUs, with resources besides."""
    known = {"CPU": 64.0, "GPU": float(number), f"node:{address}": 1.0, **resources}
    return node(address, FACTS._replace(gpus=(gpu,) * number), resources=known)
