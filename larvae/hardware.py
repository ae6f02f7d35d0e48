"""The hardware that a process computes on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

PROCESSOR_INFORMATION = Path("/proc/cpuinfo")
"""File in which Linux describes the processor: a line for each field, `name : value`, again for each core."""


def device_name(device: torch.device | str) -> str:
    """The name of a GPU, or of this machine's processor."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def processor_name() -> str:
    """The processor's name as its maker has it, where the system tells; else its architecture."""
    names = processor_fields("model name")
    return names[0].partition(": ")[2] if names else platform.processor() or platform.machine()


def processor_fields(*names: str) -> list[str]:
    """Lines of the processor's description that begin with some names, each once; none without a description."""
    try:
        lines = PROCESSOR_INFORMATION.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(line for line in lines if line.startswith(names)))
