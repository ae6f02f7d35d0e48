"""Ray prints the last lines of a raylet's log into a command's output when it dies, whatever it is told to print.

What has died is told in a line (`ray_watch`, `MemberReporter`). No discussion of it is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray._private import worker


@contextlib.contextmanager
def quiet_deaths() -> Iterator[None]:
    """Within this, Ray prints no errors of its own processes."""
    theirs = getattr(worker, "print_to_stdstream", None)

    def nothing(*_: Any, **__: Any) -> None: ...

    worker.print_to_stdstream = nothing
    try:
        yield
    finally:
        worker.print_to_stdstream = theirs
