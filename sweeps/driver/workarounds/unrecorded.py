"""Ray Tune records its own state, and reads it when it has ended: where a full disk has refused it, with a traceback.

Nothing here reads them: members' ends lie in the study's folder. Where many trials run they take most of the driver's
time, and even looking after each event whether they are due takes a quarter of Tune's where few do.
Discussed in https://github.com/ray-project/ray/issues/11233.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace

import ray.tune.tune as running
from ray.tune.execution.tune_controller import TuneController

from sweeps.driver.workarounds.replacing import replaced


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Within this, Tune records nothing of its state, and makes nothing of its records."""
    with (
        replaced(TuneController, "checkpoint", lambda *_, **__: None),
        replaced(running, "ExperimentAnalysis", lambda **_: SimpleNamespace(trials=[])),
    ):
        yield
