"""Faults of a machine are no member's failure: a trial tells them in its last words, and another one goes on."""

from __future__ import annotations

from typing import Any

from sweeps.resources.missing_gpus import MissingGpuError

FAULT_SECONDS = 30.0
"""Seconds that a trial waits before it leaves a machine with a fault: a full disk may be cleared meanwhile."""


class MachineFaultError(RuntimeError):
    """A trial's machine cannot do what any trial asks of it: a disk is full, say, or a folder out of reach."""


def machine_fault(trial: Any) -> str:
    """The fault that a trial, in its last words, found with its machine; empty where there was none."""
    news = (trial.last_result or {}).get("members", {}).values()
    return next((member["reason"] for member in news if member["status"] == "running"), "")


def host_without_gpu(fault: str) -> str:
    """The host of a fault, where that is a GPU that Ray has and PyTorch does not find; empty for others."""
    host, _, error = fault.partition(": ")
    return host if error.startswith(MissingGpuError.__name__) else ""
