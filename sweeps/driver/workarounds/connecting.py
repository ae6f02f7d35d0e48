"""Ray's connecting can't be interrupted, may take for ever, and its C++ writes a line to stderr each second.

Discussed in https://github.com/ray-project/ray/issues/19294 (`ray.init` hangs where the cluster does not answer).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def deadline(seconds: float, refusal: str) -> Iterator[None]:
    """End the process with exit code 2 and one line when the body takes too long."""
    with _own_words() as stderr:

        def give_up() -> None:
            os.write(stderr, f"error: {refusal}\n".encode())
            os._exit(2)

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextlib.contextmanager
def _own_words() -> Iterator[int]:
    """Keep from the terminal what Ray's C++ writes each second while it connects; gives the real stderr."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield stderr
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
