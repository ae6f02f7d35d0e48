"""Faults of a machine are no member's failure: a trial tells them before it leaves, and another one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.resources.missing_gpus import MissingGpuError
from sweeps.resources.taken_gpu import BrokenGpuError

FAULT_SECONDS = 30.0
"""Seconds that a trial waits before it leaves a machine with a fault: a full disk may be cleared meanwhile."""


class MachineFaultError(RuntimeError):
    """A trial's machine cannot do what any trial asks of it: a disk is full, say, or a folder out of reach."""


def machine_fault(trial: Any) -> str:
    """The fault of its machine in a trial's latest result; empty where there is none."""
    return fault_in(trial.last_result or {})


def fault_in(result: Mapping[str, Any]) -> str:
    """The fault that a trial's result tells of its machine; empty where there is none."""
    news = result.get("members", {}).values()
    return next((member["reason"] for member in news if member["status"] == "running"), "")


def host_without_gpu(fault: str) -> str:
    """The host of a fault, where that is a GPU that Ray has and PyTorch does not find; empty for others."""
    host, _, error = fault.partition(": ")
    return host if error.startswith(MissingGpuError.__name__) else ""


def is_broken_gpus(fault: str) -> bool:
    """Tell whether a fault is a GPU's that does not work."""
    return fault.partition(": ")[2].startswith(BrokenGpuError.__name__)
