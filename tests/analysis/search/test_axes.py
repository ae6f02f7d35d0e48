"""The axes of a search: where values lie, and which are written."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sweeps.adaptive.space import parse_space
from sweeps.analysis.search.axes import axes_of

VALUES = {
    "tau=0.1:10:log:zero": [0, 0.1, 0.11, 1, 10],
    "gamma_tc=0:12": [0, 0.1, 6, 12],
    "alpha=1:1000:log": [1, 2, 999, 1000],
    "z_dim=1:10": [1, 2, 10],
    "learning_rate=1e-5:1e-2:log": [1e-5, 2e-5, 1e-2],
    "label_rate=0.005,0.02,0.01": [0.005, 0.01, 0.02],
}
SPACE = parse_space(VALUES)
AXES = {axis.name: axis for axis in axes_of(SPACE)}


def test_positions_ascend_from_one_end_to_the_other_and_are_shares_that_become_them_again() -> None:
    for axis, values in zip(AXES.values(), VALUES.values(), strict=True):
        positions = [axis.position(value) for value in values]
        assert np.all(np.diff(positions) > 0)
        assert (positions[0], positions[-1]) == (0, pytest.approx(1))
        spread = axis.spread(np.linspace(0, 1, 1000, endpoint=False))
        assert (spread.min(), spread.max() <= 1) == (0, True)
        if axis.name == "label_rate":
            assert list(np.unique(spread)) == [0, 0.5, 1]
        if axis.name == "tau":
            assert np.mean(spread == 0) == pytest.approx(0.1)
            assert spread[spread > 0].min() >= axis.position(0.1)


def test_a_value_lies_where_the_sampler_has_it() -> None:
    others = {name: d.low if hasattr(d, "low") else 0.01 for name, d in SPACE.distributions().items()}
    for name in ("tau", "gamma_tc", "alpha", "learning_rate"):
        sampled = SPACE.distributions()[name]
        for share in np.linspace(0.15, 1, 9):
            low, high = sampled.low, sampled.high
            raw = low * (high / low) ** share if sampled.log else low + (high - low) * share
            value = SPACE.fields(others | {name: raw})[name]
            assert AXES[name].position(value) == pytest.approx(share, abs=1e-3)  # values have four digits


def test_ticks_leave_room_for_their_texts_and_zero_is_always_written() -> None:
    for name, axis in AXES.items():
        for upright in (False, True):
            numbers = []
            for room in (4.0, 2.0, 1.0):
                ticks = axis.ticks(room, upright)
                numbers.append(len(ticks))
                assert list(ticks) == sorted(ticks)
                for (before, text), (after, other) in pairwise(ticks.items()):
                    needed = 0.11 if upright else 0.06 * (len(text) + len(other)) / 2
                    assert (after - before) * room > needed or name == "label_rate"  # all of a choice are written
            assert numbers == sorted(numbers, reverse=True)
            assert numbers[-1] >= 2
    assert [AXES["tau"].ticks(room)[0.0] for room in (4.0, 1.0, 0.5)] == ["0"] * 3
