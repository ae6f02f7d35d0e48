"""A sweep keeps the rates of its GPUs with its study, and begins with them when it goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from larvae.errors import InvalidInputError
from sweeps import preparation
from sweeps.resources import missing_gpus
from sweeps.resources.allocation import Allocation, Request
from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.rates import GpuRates
from sweeps.resources.shares import TrialResources
from sweeps.study import StudyDirectory
from tests.sweeps.commands import SCHEDULE, STUDY, sweep
from tests.sweeps.resources.gpus_that_do_not_exist import v100

pytestmark = pytest.mark.slow  # whole sweeps; without Ray: test_allocation.py
SHORT = dataclasses.replace(SCHEDULE, iterations=5)
FLAGS = ("--taus", "0", "1", "--label-rates", "0.01")


@pytest.mark.usefixtures("ray_session")
def test_rates_are_kept_with_the_study_and_found_by_the_next_command(
    folder_with_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rates = folder_with_database, v100().search(8)
    asked: list[tuple[list[int], list[GpuRates]]] = []

    def allocate(
        request: Request, kinds: Sequence[GpuKind], kept: Sequence[GpuRates], tell: Callable[[Any], None]
    ) -> Allocation:
        asked.append((list(request.sizes(1)), list(kept)))
        return Allocation(TrialResources(1, 0.5, 1), (rates,))

    monkeypatch.setattr(preparation, "allocate", allocate)
    directory = StudyDirectory(folder / "results" / STUDY)
    assert sweep(folder, *FLAGS, schedule=SHORT) == 0
    assert directory.gpu_rates.exists()
    assert sweep(folder, *FLAGS, schedule=SHORT) == 0
    assert asked == [([1, 1], []), ([], [rates])]  # what has ended is no trial


@pytest.mark.usefixtures("ray_session")
def test_a_sweep_on_this_machine_does_not_begin_where_pytorch_misses_its_gpus(
    folder_with_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a share is given or is to be measured; on none it trains on CPUs."""
    monkeypatch.delenv(missing_gpus.VARIABLE)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for given in ((), ("--gpus-per-trial", "0.5")):
        with pytest.raises(InvalidInputError, match=r"^PyTorch must find the GPUs that Ray has, .*: install a CUDA"):
            sweep(folder_with_database, *FLAGS, *given, schedule=SHORT)
    assert not (folder_with_database / "results").exists()
    assert sweep(folder_with_database, *FLAGS, "--gpus-per-trial", "0", schedule=SHORT) == 0
