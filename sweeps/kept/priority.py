"""Long training that may have what others leave."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LOWEST_PRIORITY = 19
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux' priority of a terminal's processes against those of others: within it alone counts what `nice` says."""


def take_lowest_priority() -> None:
    """Let this process have what others leave. Where Linux shares time out by terminal first, of its terminal too."""
    os.nice(LOWEST_PRIORITY)
    with contextlib.suppress(OSError):
        AUTOGROUP.write_text(str(LOWEST_PRIORITY))
