"""One driver for many trials: the time between their reports, and how Ray Tune is set meanwhile.

docs/scaling.md has the measurements.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from ray.tune.execution import tune_controller

from sweeps.driver.workarounds.deaths_of_all_kinds import TolerantActorManager
from sweeps.driver.workarounds.events_in_one_go import BatchingActorManager
from sweeps.driver.workarounds.replacing import replaced
from sweeps.driver.workarounds.seldom_repeated import seldom_repeated
from sweeps.driver.workarounds.unrecorded import unrecorded
from sweeps.trial.trial_settings import REPORT_SECONDS

SECONDS_PER_RESULT = 0.005
"""Seconds of the driver's time for one report of one trial and all that comes with it."""
REPORTING_SHARE = 0.25
"""Share of the driver's time, at most, that goes into reports."""
FEW_TRIALS = 100
"""Trials up to which Tune's own way costs less than what it then does with a result, and is left as it is."""
PENDING = "TUNE_MAX_PENDING_TRIALS_PG"
"""Tune's setting of how many trials may wait for their processes: else one starts after the other, 10 s each.

Discussed in https://github.com/ray-project/ray/pull/14835.
"""
MOST_PENDING = 2_000
"""Most trials that may be pending: after each event Tune goes through all of them, twice as long for twice as many."""


def report_seconds(trials_at_once: int) -> float:
    """Seconds for which each trial gathers rows before it reports them, so that the driver can serve them all."""
    return max(REPORT_SECONDS, trials_at_once * SECONDS_PER_RESULT / REPORTING_SHARE)


@contextlib.contextmanager
def tune_for(trials_at_once: int) -> Iterator[None]:
    """Within this, Tune starts as many trials at once as there is room for, and leaves out what nothing here needs."""
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # trials that did not complete are told by others
    manager = BatchingActorManager if trials_at_once > FEW_TRIALS else TolerantActorManager
    ours = {} if PENDING in os.environ else {PENDING: str(min(trials_at_once, MOST_PENDING))}
    with replaced(tune_controller, "RayActorManager", manager), unrecorded(), seldom_repeated():
        try:
            os.environ.update(ours)
            yield
        finally:
            for name in ours:
                os.environ.pop(name, None)
