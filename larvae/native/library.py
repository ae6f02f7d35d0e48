"""Compiles `blocks.cpp` for this machine's processor, once, and loads it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from larvae.advice import advise
from larvae.datasets.store import cache_directory
from larvae.files import appearing
from larvae.hardware import processor_fields
from larvae.phases import phase

SOURCE = Path(__file__).with_name("blocks.cpp")
COMPILERS = ("c++", "g++", "clang++")
MATRIX_UNIT = "amx_bf16"
"""Linux' name of it among a processor's flags."""
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-strict-aliasing", "-shared", "-fPIC", "-pthread")


def is_faster(precision: torch.dtype | None) -> bool:
    """Tell whether members on this machine's CPU should use the library for a step that computes in the precision.

    In bfloat16 only in a matrix unit (AMX): without one, PyTorch's kernels are as fast or have not been compared.
    """
    if precision is None or (precision == torch.bfloat16 and MATRIX_UNIT not in processor_kind()):
        return False
    compiled = library()
    return compiled is not None and (precision == torch.float32 or compiled.can_use_matrix_unit())


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled source; None, with a warning, where it cannot be compiled."""
    try:
        loaded = ctypes.CDLL(str(compiled(compiler())))
        loaded.can_use_matrix_unit.restype = ctypes.c_bool
        return loaded
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        fault = f"{SOURCE.name} cannot be compiled into `{_folder()}`"
        advise(f"{fault}, PyTorch's slower kernels run: {' '.join(reason.split())[:200]}")
        return None


def version() -> str:
    """The name of the compiled library, which tells its source, compiler and processor; there must be one."""
    loaded = library()
    assert loaded is not None
    return Path(loaded._name).stem


def compiler() -> str:
    """A C++ compiler's path. Raises FileNotFoundError if there is none."""
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise FileNotFoundError(f"no C++ compiler among {', '.join(COMPILERS)}")
    return found


def compiled(command: str) -> Path:
    """The library in the cache, compiled now if it is not there for this source, compiler and processor.

    Raises CalledProcessError when the compiler finds fault, OSError when the cache cannot be written, InvalidInputError
    where it is none.
    """
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    sources = [path.read_text("utf-8") for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h")))]
    key = hashlib.sha256("\0".join([*sources, *FLAGS, version, processor_kind()]).encode())
    path = _folder() / f"blocks-{key.hexdigest()[:16]}.so"
    if not path.exists():
        # Processes that come at once each compile it; the last one's file stays.
        with phase(f"compiling {SOURCE.name} (once)"), appearing(path) as partial:
            subprocess.run([command, *FLAGS, SOURCE, "-o", partial], capture_output=True, text=True, check=True)
    return path


def _folder() -> Path:
    return cache_directory() / "native"


def processor_kind() -> str:
    """The processor as the compiler's `native` sees it: machines that share a cache may differ in it."""
    fields = processor_fields("model name", "flags", "Features", "CPU part")
    return "\n".join(fields) or f"{platform.machine()} {platform.processor()} {platform.node()}"
