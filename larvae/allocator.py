"""The C library's memory allocator, told to keep in the process what a step frees, and on huge pages.

PyTorch asks for the same memory each step; given back in between, it comes as fresh pages.
"""

from __future__ import annotations

import os
import sys

from larvae import restart

ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "40000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Variables that it reads when a process begins; GNU's alone knows them."""


def require_environment() -> None:
    """Have this process begin anew with ENVIRONMENT, unless it has it; what its user has set stays."""
    missing = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    if missing and sys.platform == "linux":
        restart.begin_anew(missing)
