"""Ray Tune fetches the trainable from Ray's control, and unpickles it, three times a trial.

That is a tenth of Tune's part of a short trial. No discussion of it is known.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from ray.tune.experiment import trial
from ray.tune.registry import get_trainable_cls

from sweeps.driver.workarounds.replacing import replaced


def fetched_once() -> AbstractContextManager[None]:
    """Within this, Tune fetches a trainable once."""
    return replaced(trial, "get_trainable_cls", functools.cache(get_trainable_cls))
