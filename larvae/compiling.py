"""Tells whether `torch.compile` works on a machine, by compiling something tiny: what it needs is in many places."""

from __future__ import annotations

import functools
import os
import platform
import shutil

import torch

from larvae.advice import advise
from larvae.errors import one_line
from larvae.native.library import COMPILERS
from larvae.phases import phase

NEEDS = "set CXX to a C++ compiler and TORCHINDUCTOR_CACHE_DIR to a folder that can be written and run from"


@functools.cache
def can_compile(device: str = "cpu") -> bool:
    """Tell whether `torch.compile` works here for a type of device; advice where it does not. Takes seconds, once."""
    others = () if "CXX" in os.environ or shutil.which("g++") else COMPILERS  # PyTorch looks for no other name
    if found := next(filter(shutil.which, others), None):
        os.environ["CXX"] = found
    try:
        with phase("trying torch.compile"):
            torch.compile(_tiny)(torch.zeros(1, device=device))
    except Exception as error:  # of PyTorch, of a compiler, of a file system
        cause = getattr(error, "inner_exception", None) or error
        fault = f"torch.compile does not work on {platform.node()} ({one_line(cause)[:200]})"
        advise(f"{fault}: the plain step runs, which is slower; {NEEDS}, or give --no-compile")
        return False
    return True


def _tiny(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1
