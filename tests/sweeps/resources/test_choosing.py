"""The choice of a trial's members and share, on GPUs that do not exist: whatever ends a study first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest
from rich.console import Console

from sweeps.resources.choosing import ASSUMED_TRIAL_BYTES, KindRates, assumed_rates, choose
from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.rate_search import GAIN
from sweeps.resources.rates import GpuRates, Outcome, rates_table
from sweeps.resources.shares import TrialResources
from tests.sweeps.resources.gpus_that_do_not_exist import (
    Gpu,
    bound_by_hosts,
    chosen,
    h100,
    saturating,
    sizes_of,
    v100,
)


def rate_of(gpu: Gpu, resources: TrialResources) -> float:
    """The rate that a GPU has as it is filled."""
    return gpu.rate(resources.members, round(1 / resources.gpus))


def printed(rates: GpuRates, resources: TrialResources) -> list[str]:
    """The lines of the table that the user sees."""
    console = Console(width=160)
    with console.capture() as capture:
        console.print(rates_table(rates, resources.members, round(1 / resources.gpus)))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize(
    "gpu",
    [
        h100(),
        v100(),
        h100(bound_by_hosts(2000, 300)),
        v100(bound_by_hosts(700, 500)),
        dataclasses.replace(v100(), member_gigabytes=1.6),  # 8 do not fit
    ],
    ids=["H100", "V100", "hosts bind", "hosts bind little", "small"],
)
def test_a_large_study_is_trained_at_nearly_the_best_measured_rate_that_fits(gpu: Gpu) -> None:
    rates = gpu.search(44, seconds=1e6)
    resources = chosen(rates, total=100_000)
    best = max(row.rate for row in rates.rows if row.processes * row.process_bytes * 1.2 <= gpu.gigabytes * 1e9)
    assert rate_of(gpu, resources) >= best / GAIN**2  # fewer trials, and fewer members of each
    taken = gpu.process_gigabytes + gpu.member_gigabytes * resources.members
    assert taken / resources.gpus <= gpu.gigabytes


def test_processes_are_added_where_they_help_and_only_there() -> None:
    helpful, useless = bound_by_hosts(2000, 500), saturating(2000, 0.0)
    assert [round(1 / chosen(h100(rate).search(44), 100_000).gpus) for rate in (helpful, useless)] == [4, 1]


@pytest.mark.parametrize("gpu", [h100(), v100(), h100(bound_by_hosts(2000, 300)), h100(lambda k, p: 100.0 * k * p)])
@pytest.mark.parametrize(("total", "gpus"), [(18, 8), (8, 8), (3, 8), (9, 2), (132, 8)])
def test_trials_are_spread_over_all_gpus(gpu: Gpu, total: int, gpus: int) -> None:
    """Never more on one GPU than there are for each, so that none has many while others idle."""
    rates = dataclasses.replace(gpu, compiled=set()).search(min(44, math.ceil(total / gpus)), seconds=1e6)
    resources = chosen(rates, total, gpus)
    trials = len(sizes_of(total)(resources.members))
    assert round(1 / resources.gpus) <= math.ceil(trials / gpus)
    used = math.ceil(trials * resources.gpus)  # as Ray packs them
    assert used >= min(gpus, total) / 2


def test_eighteen_trials_do_not_share_one_of_eight_gpus() -> None:
    """Memory alone would put 64 of them there, and rates eight."""
    for rate in (saturating(400, 0.5), bound_by_hosts(2000, 300)):
        rates = h100(rate).search(1)
        assert round(1 / chosen(rates, 18, gpus=8).gpus) == 3
        assert round(1 / chosen(rates, 1000, gpus=8).gpus) > 3


def test_cpus_that_are_few_spread_trials_too() -> None:
    """Trials of 1/8 GPU would fill two of eight GPUs with the node's 16 CPUs."""
    rates = h100(bound_by_hosts(2000, 300)).search(44)
    assert round(1 / chosen(rates, 1000, gpus=8, cpus=16).gpus) == 2
    assert round(1 / chosen(rates, 1000, gpus=8, cpus=64).gpus) > 4


def kinds(*gpus: tuple[Gpu, str, int], seconds: float = 1e6) -> list[KindRates]:
    """Nodes of 64 CPUs, each with a number of GPUs of one kind."""
    return [
        KindRates(
            GpuKind(name, gpu.gigabytes * 1e9, ({"CPU": 64.0, "GPU": float(number)},)),
            gpu.search(44, seconds=seconds).rows,
        )
        for gpu, name, number in gpus
    ]


def test_each_kind_of_gpu_gets_its_own_share_and_all_the_same_members() -> None:
    mixed = kinds((h100(bound_by_hosts(2000, 300)), "gpu_80GB", 2), (v100(bound_by_hosts(700, 300)), "gpu_16GB", 4))
    resources = choose(1, mixed, sizes_of(1000))
    shares = {place.resource: round(1 / place.gpus) for place in resources.places}
    assert shares["gpu_80GB"] > shares["gpu_16GB"] >= 1
    assert resources.gpus == max(place.gpus for place in resources.places)
    assert {place.resource: place.number for place in resources.places} == {
        "gpu_80GB": 2 * shares["gpu_80GB"],
        "gpu_16GB": 4 * shares["gpu_16GB"],
    }


def test_a_kind_too_small_for_the_members_that_are_best_elsewhere_gets_none() -> None:
    """But all its own where those are worth more than it is."""
    large, small = h100(lambda members, processes: 100.0 * members), dataclasses.replace(v100(), member_gigabytes=3.0)
    resources = choose(1, kinds((large, "gpu_80GB", 8), (small, "gpu_16GB", 1)), sizes_of(1000))
    assert [place.resource for place in resources.places] == ["gpu_80GB"]
    assert resources.members == 32
    flat = h100(lambda members, processes: 100.0)
    resources = choose(1, kinds((flat, "gpu_80GB", 1), (small, "gpu_16GB", 8)), sizes_of(1000))
    assert [place.resource for place in resources.places] == ["gpu_80GB", "gpu_16GB"]


@pytest.mark.parametrize("memory", [None, 8e9, 16e9, 32e9, 80e9])
def test_what_is_assumed_fills_gpus_by_their_memory_and_spreads_trials(memory: float | None) -> None:
    fitting = max(1, int((memory or 16e9) // ASSUMED_TRIAL_BYTES))

    def share(total: int, gpus: int, outcome: Outcome = Outcome.FAILED) -> int:
        node: Sequence[dict[str, float]] = [{"CPU": 1000.0, "GPU": float(gpus)}]
        kind = GpuKind(None, memory or 0.0, tuple(node))
        return round(1 / choose(1, [KindRates(kind, assumed_rates(1, memory, outcome))], sizes_of(total)).gpus)

    assert fitting / GAIN <= share(total=10_000, gpus=1) <= fitting
    assert share(total=18, gpus=8) == min(3, fitting)
    assert share(total=10_000, gpus=1, outcome=Outcome.OUT_OF_MEMORY) == 1


def test_the_table_tells_what_was_measured_what_failed_and_what_was_chosen() -> None:
    rates = dataclasses.replace(v100(), member_gigabytes=0.8).search(44)
    lines = printed(rates, chosen(rates, 132))
    assert lines[0] == "Model-iterations a second on one Tesla V100-SXM2-16GB, 16 GB:"
    assert lines[1].split() == ["members", "together", "processes", "a", "second", "GB", "a", "process"]
    assert lines[-1] == "Chosen for each such GPU: 1 trial of 16 members"
    rows = [line.split() for line in lines[2:-1]]
    assert ["16", "1", "589", "13.7"] in rows
    assert ["32", "1", "out", "of", "memory"] in rows
    assert len(rows) == len(rates.rows)
