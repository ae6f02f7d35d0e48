"""Common parts of commands: what they tell to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from larvae.config import Schedule
from sweeps import session
from sweeps.study import grid


@pytest.mark.parametrize(
    ("swept", "dataset"),
    [
        ({"tau": (0.0, 1.0), "z_dim": (0, 5)}, "dsprites"),
        ({"tau": (0.0, 1.0), "dataset": ("shapes3d-rendered", "dsprites")}, "shapes3d-rendered"),
        ({"tau": (0.0, 1.0), "detach_nuisance": (True,)}, "dsprites"),  # which the baseline has at its default
        ({"tau": (1.0, 5.0)}, ""),
        ({"z_dim": (0, 5)}, ""),
    ],
)
def test_traversals_are_offered_of_studies_that_have_a_baseline_and_a_larvae(
    swept: Mapping[str, Sequence[Any]], dataset: str
) -> None:
    study = grid("study", {}, {"seed": (0, 1), **swept}, Schedule(iterations=8))
    assert session._with_pair(study) == dataset
