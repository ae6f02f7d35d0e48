"""The reasons of deaths of trials' processes, a line each, of what Ray tells in many."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from ray import cloudpickle

from sweeps.trial.machine_faults import machine_fault

_LOW_ON_MEMORY = re.compile(r"low on memory|memory monitor")
_NODE = re.compile(r"\bIP: ([^\s,)]+)")
_MACHINES = ("OutOfDiskError", "RuntimeEnvSetupError", "ObjectStoreFullError", "NodeDiedError", "LocalRayletDiedError")
"""Ray's errors that are a machine's fault, but for memory."""


class Death(NamedTuple):
    """The end of a trial's process before its trial's."""

    reason: str = "its process died"
    is_machines: bool = False
    """True if its machine is at fault, not what it did."""
    is_told: bool = False
    """True if the process itself has told and logged it."""
    is_at_start: bool = False
    """True if the process could not even start."""
    node: str = ""
    """Address of its node, where it is known."""


def death_of(trial: Any) -> Death:
    """The latest death of a trial's process."""
    error = _error_of(trial)
    text = str(error or "")
    node = next(iter(_NODE.findall(text)), "")
    if is_low_on_memory(text):
        advice = "have fewer trials at once (--cpus-per-trial), or raise RAY_memory_usage_threshold where it has room"
        place = f" {node}" if node else ""
        return Death(f"Ray killed it as its node{place} ran out of memory: {advice}", is_machines=True, node=node)
    if getattr(error, "actor_init_failed", False):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return Death(lines[-1][:300], is_at_start=True, node=node)
    if fault := machine_fault(trial):  # not before: one that never started leaves the fault of the process before it
        return Death(fault, is_machines=True, is_told=True)
    if text.startswith(_MACHINES):
        return Death(" ".join(text.split())[:300], is_machines=True, node=node)
    return Death(node=node)


def is_low_on_memory(text: str) -> bool:
    """Tell whether an error's text says that Ray's memory monitor was its cause."""
    return _LOW_ON_MEMORY.search(text) is not None


def _error_of(trial: Any) -> Exception | None:
    """The error that Tune has just written for a trial, on this machine."""
    path = getattr(trial, "pickled_error_file", None)
    try:
        error = cloudpickle.loads(Path(path).read_bytes()) if path else None
    except OSError:
        return None
    return error if isinstance(error, Exception) else None
