"""Tells whether `torch.compile` works on a machine, by compiling something tiny: what it needs is in many places."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import tempfile
from pathlib import Path

import torch

from larvae.advice import advise
from larvae.errors import InvalidInputError, one_line
from larvae.native.library import COMPILERS
from larvae.out_of_memory import is_broken_process, is_out_of_memory
from larvae.phases import phase
from larvae.private_folder import make_private_folder

NEEDS = "set CXX to a C++ compiler and TORCHINDUCTOR_CACHE_DIR to a folder that can be written and run from"


def keep_code_private() -> None:
    """Have compiled code in a folder that nobody else can write to, as they could to the one that PyTorch would take.

    To be called before `torch.compile` is: PyTorch sets the variable, too, and keeps to what it finds.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_compile_cache())
    from torch._inductor import codecache  # late: it takes a second

    headers = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], "precompiled_headers")  # else in that place all the same
    codecache._HEADER_DIR, codecache._HEADER_LOCK_DIR = str(headers), str(headers / "locks")


def _compile_cache() -> Path:
    try:
        return make_private_folder(Path(tempfile.gettempdir())) / "inductor"
    except InvalidInputError:
        return Path(tempfile.mkdtemp(prefix="larvae-"))


@functools.cache
def can_compile(device: str = "cpu") -> bool:
    """Tell whether `torch.compile` works here for a type of device; advice where it does not. Takes seconds, once.

    Raises what a GPU that is full, or does not work, raises."""
    others = () if "CXX" in os.environ or shutil.which("g++") else COMPILERS  # PyTorch looks for no other name
    if found := next(filter(shutil.which, others), None):
        os.environ["CXX"] = found
    try:
        keep_code_private()
        with phase("trying torch.compile"):
            torch.compile(_tiny)(torch.zeros(1, device=device))
    except Exception as error:  # of PyTorch, of a compiler, of a file system
        if is_out_of_memory(error):
            raise  # the GPU's, which may have room in a moment
        if is_broken_process(error):
            torch.ones(1, device=device).item()  # which raises where it is the GPU's fault, and not the kernel's
        cause = getattr(error, "inner_exception", None) or error
        fault = f"torch.compile does not work on {platform.node()} ({one_line(cause)[:200]})"
        advise(f"{fault}: the plain step runs, which is slower; {NEEDS}, or give --no-compile")
        return False
    return True


def _tiny(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1
