"""Ray Tune gives a trial up after some failures, whosever fault each was, and counts none down.

A trial whose GPU does not work fails as often as it is given that GPU: where others are busy for hours, it has no
other place. No discussion of it is known.
"""

from __future__ import annotations

from typing import Any


def uncount_failure(trial: Any) -> None:
    """Take back the failure that Tune has just counted."""
    trial.run_metadata.num_failures -= 1
