"""GPUs that Ray has and PyTorch does not find: no member is trained on a CPU in their place, but where tests say so."""

from __future__ import annotations

import os

VARIABLE = "LARVAE_GPUS_WITHOUT_CUDA"
"""Set to 1 in a sweep's environment, it lets Ray's GPUs not exist: members hold them and train on CPUs. For tests."""
MUST_BE_FOUND = "PyTorch must find the GPUs that Ray has, but finds none"
ADVICE = "install a CUDA build of torch that suits the driver (`nvidia-smi`) there, or give --gpus-per-trial 0"


class MissingGpuError(OSError):
    """No GPU is behind the share that a process holds: a fault of its machine, which others need not have."""

    def __init__(self) -> None:
        super().__init__(f"{MUST_BE_FOUND}: {ADVICE}")


def may_be_missing() -> bool:
    """Tell whether this process's environment lets GPUs not exist."""
    return os.environ.get(VARIABLE) == "1"
