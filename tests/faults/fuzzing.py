"""Drawn inputs: the same ones in every run, few in the fast suite and many where faults are looked for."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

HANGS_AFTER = 120
"""Seconds after which a command or a reader counts as one that hangs: none takes a hundredth of it."""

Record = Callable[[str, object], None]
"""Pytest's `record_property`."""


def examples(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test with few drawn inputs in the fast suite, and with many more where slow tests run."""
    return pytest.mark.parametrize("times", [few, pytest.param(many, marks=pytest.mark.slow)])


def fuzz(check: Callable[..., object], *drawn: SearchStrategy[Any], times: int) -> int:
    """Hand drawn values to a check; the number of times that it was called."""
    calls = 0

    @settings(
        max_examples=times,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*drawn))
    def draw(values: tuple[Any, ...]) -> None:
        nonlocal calls
        calls += 1
        with hang_told():
            check(*values)

    draw()
    return calls


@contextlib.contextmanager
def hang_told() -> Iterator[None]:
    """Within this, what hangs is ended by an error of its own."""

    def tell(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, tell)
    signal.alarm(HANGS_AFTER)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
