"""The search of a GPU's rates, on GPUs that do not exist: what it measures, and when it stops."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from sweeps.resources.rate_search import LEAST_SECONDS, members_to_try
from sweeps.resources.rates import Outcome
from tests.sweeps.resources.gpus_that_do_not_exist import Gpu, bound_by_hosts, h100, saturating, v100


def settings(gpu: Gpu, together: int = 44, most_processes: int = 8, seconds: float = 1e6) -> list[tuple[int, int]]:
    """The members and processes that are measured, in their order."""
    return [(row.members, row.processes) for row in gpu.search(together, most_processes, seconds).rows]


def test_numbers_of_members_end_with_all_that_are_alike() -> None:
    for together in range(1, 50):
        numbers = members_to_try(together)
        assert list(numbers) == sorted(set(numbers))
        assert numbers[-1] == min(together, 32)
        assert all(1.5 * low <= high for low, high in itertools.pairwise(numbers))
    assert [members_to_try(together) for together in (1, 3, 8, 44)] == [(1,), (1, 3), (1, 4, 8), (1, 4, 8, 16, 32)]


def test_a_direction_ends_where_the_rate_grows_no_more() -> None:
    flat = settings(h100(saturating(1000, 0.0)))
    assert flat == [(8, 1), (16, 1), (8, 2), (4, 1), (4, 2), (1, 1), (1, 2)]
    growing = settings(h100(lambda members, processes: float(members * processes)))
    assert growing[:5] == [(8, 1), (16, 1), (32, 1), (32, 2), (32, 4)]  # eight processes of 32 would not fit
    assert (32, 8) not in growing


def test_processes_are_tried_up_to_the_cpus_that_a_gpu_has() -> None:
    helpful = h100(bound_by_hosts(most=2000, process=300))
    assert {processes for _, processes in settings(helpful)} == {1, 2, 4, 8}
    assert {processes for _, processes in settings(helpful, most_processes=3)} == {1, 2}


def test_out_of_memory_is_met_with_fewer_members() -> None:
    """The most members with one process come first; of those that fit the best one then gets more processes."""
    tight = dataclasses.replace(v100(), member_gigabytes=3.0)
    rates = tight.search(44, seconds=1e6)
    assert [(row.members, row.outcome) for row in rates.rows[:2]] == [(8, Outcome.OUT_OF_MEMORY), (4, Outcome.MEASURED)]
    assert {row.members for row in rates.rows if row.is_measured} == {4, 1}
    hopeless = dataclasses.replace(v100(), process_gigabytes=17.0)
    rates = hopeless.search(44, seconds=1e6)
    assert [row.members for row in rates.rows] == [8, 4, 1]
    assert not rates.is_measured


@pytest.mark.parametrize("seconds", [10.0, 60.0, 115.0, 240.0, 600.0])
def test_the_minutes_are_kept_and_what_was_measured_until_then_counts(seconds: float) -> None:
    for gpu in (h100(), v100(bound_by_hosts(700, 100)), dataclasses.replace(v100(), compile_seconds=400)):
        everything = settings(dataclasses.replace(gpu, compiled=set()))
        rates = gpu.search(44, seconds=seconds)
        assert gpu.now <= seconds
        assert [(row.members, row.processes) for row in rates.rows] == everything[: len(rates.rows)]
        assert bool(rates.rows) == (seconds >= LEAST_SECONDS)
