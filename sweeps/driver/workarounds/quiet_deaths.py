"""Ray prints the last lines of a raylet's log into a command's output when it dies, whatever it is told to print.

What has died is told in a line (`ray_watch`, `MemberReporter`). No discussion of it is known.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ray._private import worker

from sweeps.driver.workarounds.replacing import replaced


def quiet_deaths() -> AbstractContextManager[None]:
    """Within this, Ray prints no errors of its own processes."""
    return replaced(worker, "print_to_stdstream", lambda *_, **__: None)
