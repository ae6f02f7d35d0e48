"""Common parts of commands: what they tell to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from larvae.config import Schedule
from larvae.errors import InvalidInputError
from sweeps import session, tau_sweep
from sweeps.console.terminal import new_console
from sweeps.options import parse
from sweeps.preparation import Prepared
from sweeps.resources.shares import TrialResources
from sweeps.study import StudyDirectory, grid


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


def test_a_study_that_another_command_has_begun_meanwhile_is_not_mixed_with(study_directory: StudyDirectory) -> None:
    """Both had found the folder empty; a probe of GPUs lies between that look and the lock."""
    studies = [grid("study", {"alpha": alpha}, {"seed": (0, 1)}, Schedule(iterations=8)) for alpha in (1.0, 64.0)]
    prepared = Prepared(study_directory, {}, {}, TrialResources(1, 0))
    with study_directory.locked():
        study_directory.write_record(studies[0], {})
    options = parse(["--storage-path", str(study_directory.path)], tau_sweep.PRESETS, lambda _: "quick", "")
    with pytest.raises(InvalidInputError, match=r"a study keeps its alpha, but .* has 1\.0, got 64\.0: give another"):
        session.held(studies[1], options, prepared, new_console()).__enter__()
