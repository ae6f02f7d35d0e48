"""A process that begins anew, where what must change is read when it begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence


def begin_anew(variables: Mapping[str, str], words: Sequence[str] | None = None) -> None:
    """Replace this process by one with variables in its environment; what it has printed stays.

    words: of its command line, after the interpreter. Left out, they are as they were.
    """
    os.environ |= variables
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *(sys.orig_argv[1:] if words is None else words)])
