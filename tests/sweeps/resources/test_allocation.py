"""What a trial takes: as given, from rates that are kept or measured now, or as assumed, which is told."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from rich.console import Console

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.preflight.gathering import gpu_nodes
from sweeps.resources import allocation, missing_gpus
from sweeps.resources.allocation import Allocation, Request, allocate
from sweeps.resources.gpu_kinds import gpu_kinds
from sweeps.resources.probe import Gpu as FoundGpu
from sweeps.resources.rates import GpuRates
from sweeps.resources.shares import TrialResources
from tests.sweeps.preflight.invented import RTX_2080, V100_16, V100_32, gpu_node, node
from tests.sweeps.resources.gpus_that_do_not_exist import Gpu, sizes_of, v100

TORCH = torch.__version__.partition("+")[0]
REQUEST = Request(sample=[MemberConfig(batch_size=2)], together=44, total=132, sizes=sizes_of(132))
MIXED = gpu_kinds(
    gpu_nodes(
        [
            node("head"),
            gpu_node("a", V100_16, 8, gpu_16GB=1000),
            gpu_node("b", V100_32, 8, gpu_32GB=1000),
            gpu_node("c", RTX_2080, 2, gpu_8GB=1000),
        ]
    )
)


class World:
    """A cluster whose GPUs do not exist. Those without an entry are never free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpus: dict[str | None, Gpu | None] = {}
        """GPUs by the resource of their kind; None where PyTorch finds none."""
        self.reserved: list[str | None] = []
        self.console = Console(width=160, record=True, file=io.StringIO())
        self.cluster = {"CPU": 128.0, "GPU": 8.0}
        monkeypatch.setattr(allocation.ray, "cluster_resources", lambda: self.cluster)
        monkeypatch.setattr(allocation, "living_nodes", lambda: [self.cluster])
        monkeypatch.setattr(allocation, "reserved_gpu", self._reserved_gpu)

    @contextlib.contextmanager
    def _reserved_gpu(self, probed: object, resource: str | None, tell: Callable[[Any], None]) -> Iterator[Any]:
        self.reserved.append(resource)
        yield _Probe(self.gpus[resource]) if resource in self.gpus else None

    def allocate(self, kept: tuple[GpuRates, ...] = (), kinds: Any = (), **changes: Any) -> Allocation:
        return allocate(dataclasses.replace(REQUEST, **changes), kinds, kept, self.console.print)

    def said(self) -> str:
        return self.console.export_text()


class _Probe:
    def __init__(self, gpu: Gpu | None) -> None:
        self._gpu = gpu

    def gpu(self) -> FoundGpu | None:
        return self._gpu and FoundGpu(self._gpu.name, round(self._gpu.gigabytes * 1e9), TORCH)

    def measure(self, members: int, processes: int, seconds: float) -> Any:
        assert self._gpu is not None
        return self._gpu.measure(members, processes, seconds)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.delenv(missing_gpus.VARIABLE, raising=False)
    return World(monkeypatch)


def test_what_is_given_is_taken_and_nothing_measured(world: World) -> None:
    assert world.allocate(gpus=0.5) == Allocation(TrialResources(1, 0.5, 8))
    assert world.allocate(gpus=0.5, members=3, cpus=2) == Allocation(TrialResources(2, 0.5, 3))
    assert world.allocate(gpus=0.0) == Allocation(TrialResources(1, 0.0, 1))
    world.cluster = {"CPU": 8.0}
    assert world.allocate() == Allocation(TrialResources(1, 0.0, 1))
    assert (world.reserved, world.said()) == ([], "")


def test_rates_are_measured_once_and_kept_ones_taken_where_they_fit(world: World) -> None:
    world.gpus = {None: v100()}
    first = world.allocate()
    assert "Measuring how a GPU (Tesla V100-SXM2-16GB) is filled best, for 10 min at most" in world.said()
    assert first.rates[0].is_measured
    world.gpus = {None: dataclasses.replace(v100(), rate=lambda members, processes: 1 / 0)}  # is not measured again
    again = world.allocate(kept=first.rates)
    assert again == first
    assert "Model-iterations a second on one Tesla V100-SXM2-16GB" in world.said()


@pytest.mark.parametrize(
    "changes",
    [{"cpus": 2}, {"members": 4}, {"compiles": False}, {"sample": [MemberConfig(z_dim=2)]}],
)
def test_rates_of_other_conditions_are_measured_anew(world: World, changes: dict[str, Any]) -> None:
    world.gpus = {None: v100()}
    kept = world.allocate().rates
    (other,) = world.allocate(kept=kept, **changes).rates
    assert other.conditions != kept[0].conditions
    world.gpus = {None: dataclasses.replace(v100(), name="Another V100")}
    assert world.allocate(kept=kept).rates[0].conditions.gpu == "Another V100"


@pytest.mark.parametrize("gpus", [1, 3, 4, 7, 40])
def test_rates_are_kept_however_many_gpus_come_and_go(world: World, gpus: int) -> None:
    """Their number decides which numbers of members are worth a measurement, and what is chosen of those."""
    world.gpus = {None: v100()}
    kept = world.allocate().rates
    world.gpus = {None: dataclasses.replace(v100(), rate=lambda members, processes: 1 / 0)}  # is not measured again
    world.cluster = {"CPU": 16.0 * gpus, "GPU": float(gpus)}
    again = world.allocate(kept=kept)
    assert again.rates == kept
    assert again.resources.members <= max(1, -(-REQUEST.total // gpus))


def test_rates_of_single_members_are_not_those_of_members_together(world: World) -> None:
    world.gpus = {None: v100()}
    kept = world.allocate(members=1).rates
    assert len(world.allocate(kept=kept).rates[0].conditions.members) > 1


def test_members_that_are_given_are_the_only_ones_that_are_measured(world: World) -> None:
    world.gpus = {None: v100()}
    resources, (rates,) = world.allocate(members=5)
    assert {row.members for row in rates.rows} == {resources.members} == {5}


def test_each_kind_is_measured_and_those_that_are_known_by_name_need_no_free_gpu_again(world: World) -> None:
    world.cluster = {"CPU": 256.0, "GPU": 18.0}
    found = {"gpu_16GB": V100_16, "gpu_32GB": V100_32, "gpu_8GB": RTX_2080}
    world.gpus = {name: dataclasses.replace(v100(), name=g.name, gigabytes=g.memory / 1e9) for name, g in found.items()}
    first = world.allocate(kinds=MIXED)
    assert world.reserved == ["gpu_32GB", "gpu_16GB", "gpu_8GB"]
    assert {place.resource for place in first.resources.places} == set(found)
    world.gpus = {}
    assert world.allocate(kinds=MIXED, kept=first.rates) == first
    assert len(world.reserved) == 3


def test_a_kind_that_is_not_free_is_filled_by_what_the_nearest_one_told(world: World) -> None:
    world.cluster = {"CPU": 256.0, "GPU": 18.0}
    world.gpus = {"gpu_16GB": dataclasses.replace(v100(), name=V100_16.name, gigabytes=V100_16.memory / 1e9)}
    resources, rates = world.allocate(kinds=MIXED)
    assert {place.resource for place in resources.places} == {"gpu_32GB", "gpu_16GB", "gpu_8GB"}
    taken = max(row.process_bytes for row in rates[0].rows if row.members == resources.members)
    for kind in MIXED:
        (share,) = (place.gpus for place in resources.places if place.resource == kind.resource)
        assert taken <= kind.memory * share


def test_a_process_that_fills_its_gpu_but_for_less_than_the_reserve_has_it_alone(world: World) -> None:
    world.gpus = {None: dataclasses.replace(v100(), process_gigabytes=15.4, reserve_gigabytes=0.5)}
    assert world.allocate().resources == TrialResources(1, 1.0, 1)


def test_more_cpus_than_a_node_with_gpus_has_are_refused_before_one_is_waited_for(world: World) -> None:
    most = max(node["CPU"] for kind in MIXED for node in kind.nodes)
    with pytest.raises(InvalidInputError, match=rf"must be at most the {most:g} .* GPUs, got {most + 1:g}$"):
        world.allocate(kinds=MIXED, cpus=int(most) + 1)
    assert world.reserved == []


def test_a_kind_whose_nodes_hold_no_trial_is_left_out_and_not_waited_for(world: World) -> None:
    small = MIXED[-1]._replace(nodes=({"CPU": 4.0, "GPU": 2.0},))
    world.cluster = {"CPU": 256.0, "GPU": 18.0}
    world.gpus = {kind.resource: dataclasses.replace(v100(), gigabytes=kind.memory / 1e9) for kind in MIXED}
    resources = world.allocate(kinds=[*MIXED[:-1], small], cpus=8).resources
    assert small.resource not in world.reserved
    assert sum(place.number for place in resources.places if place.resource != small.resource) > 0


def test_a_share_that_is_not_measured_is_told_with_advice(world: World) -> None:
    resources = world.allocate().resources
    assert resources.members == 8
    line = world.said()
    assert f"(no GPU was free): a trial of 8 members takes {resources.gpus:.3g} GPU by default; free a GPU" in line
    world.gpus = {None: dataclasses.replace(v100(), compile_seconds=1000)}
    world.allocate()
    assert "was not measured (failed: no time): a trial of 8 members takes" in world.said()
    world.gpus = {None: dataclasses.replace(v100(), process_gigabytes=17)}
    assert world.allocate().resources == TrialResources(1, 1.0, 1)
    assert "was not measured (out of memory): a trial of 1 member takes 1 GPU" in world.said()


def test_a_study_that_has_ended_measures_nothing(world: World) -> None:
    world.allocate(sizes=lambda members: [])
    assert (world.reserved, world.said()) == ([], "")


def test_gpus_that_pytorch_does_not_find_stop_the_sweep_but_where_tests_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.gpus = {None: None}
    with pytest.raises(InvalidInputError, match=r"^PyTorch must find the GPUs that Ray has, .*: install .*-trial 0$"):
        world.allocate()
    monkeypatch.setenv(missing_gpus.VARIABLE, "1")
    resources = world.allocate().resources
    assert (resources.members, world.said()) == (1, "")
    assert 0 < resources.gpus < 1
