"""Ray Tune does over, for each trial, what is the same for all, or of no use: a fifth of its part of a short trial.

It fetches the trainable from Ray's control, and unpickles it, three times; and it writes the trial's configuration as a
command line and parses that, for the sake of other options. No discussion of it is known.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ray.tune.experiment import config_parser, trial
from ray.tune.registry import get_trainable_cls

from sweeps.driver.workarounds.replacing import replaced


@contextlib.contextmanager
def seldom_repeated() -> Iterator[None]:
    """Within this, Tune fetches a trainable once, and parses no configurations."""
    fetch, to_argv = functools.cache(get_trainable_cls), getattr(config_parser, "_to_argv", None)

    def without_config(spec: dict[str, Any]) -> Any:
        return to_argv({name: value for name, value in spec.items() if name != "config"}) if to_argv else []

    with replaced(trial, "get_trainable_cls", fetch), replaced(config_parser, "_to_argv", without_config):
        yield
