"""Where trials may run on a cluster whose GPUs differ: how many fit on each kind, and who has which place.

Ray holds a trial's share of a GPU to be the same on every GPU, but a trial that takes a sixth of a 16 GB V100 takes
a twelfth of a 32 GB one and a third of an 8 GB RTX 2080. So a trial is bound to a kind of GPU, when one is free, by a
resource that only the nodes of that kind have, such as `gpu_16GB`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ray
from ray import tune

from sweeps.preflight.gathering import Node

BINDING = 0.001
"""What a trial takes of the resource that names a kind of GPU."""
_NAMES_NO_KIND = ("CPU", "GPU", "memory", "object_store_memory")


class GpuKind(NamedTuple):
    """GPUs of one size."""

    resource: str | None
    """One that all nodes with such GPUs have, and no other node with GPUs; None where nothing tells them apart."""
    memory: float
    """Of one GPU, in bytes; of the smallest where they differ."""
    nodes: tuple[Mapping[str, float], ...]
    """Resources of the nodes that have them."""


def living_nodes() -> list[Mapping[str, float]]:
    """Resources of the cluster's nodes that live."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def gpu_kinds(nodes: Sequence[Node]) -> list[GpuKind]:
    """Kinds of GPUs on the nodes that have told of theirs; all as one where Ray's resources do not tell them apart."""
    sizes: dict[int, list[Node]] = {}
    for node in nodes:
        if node.facts and node.facts.gpus and node.resources.get("GPU", 0) > 0:
            smallest = min(gpu.memory for gpu in node.facts.gpus)
            sizes.setdefault(round(smallest / 2**30), []).append(node)
    kinds = []
    for size, alike in sorted(sizes.items(), reverse=True):
        others = [node for other, found in sizes.items() if other != size for node in found]
        kinds.append(GpuKind(_names(alike, others) if others else None, _least_memory(alike), _resources(alike)))
    if len(kinds) > 1 and any(kind.resource is None for kind in kinds):
        everyone = [node for found in sizes.values() for node in found]
        return [GpuKind(None, _least_memory(everyone), _resources(everyone))]
    return kinds


def _names(alike: Sequence[Node], others: Sequence[Node]) -> str | None:
    """A resource that all of some nodes have and none of the others."""
    shared = set.intersection(*(set(node.resources) for node in alike))
    foreign = {name for node in others for name in node.resources}
    known = sorted(name for name in shared - foreign if name not in _NAMES_NO_KIND and not name.startswith("node:"))
    return known[0] if known else None


def _least_memory(nodes: Iterable[Node]) -> float:
    return min(gpu.memory for node in nodes if node.facts for gpu in node.facts.gpus)


def _resources(nodes: Iterable[Node]) -> tuple[Mapping[str, float], ...]:
    return tuple(node.resources for node in nodes)


def fits(request: Mapping[str, float], node: Mapping[str, float]) -> bool:
    """Whether a node of some resources could hold a trial, if nothing else ran on it."""
    return all(node.get(kind, 0) >= amount for kind, amount in request.items())


def misfit(cpus: float, gpus: float, nodes: Sequence[Mapping[str, float]]) -> str:
    """The rule that a trial breaks which none of some nodes could ever hold; empty where one could."""
    if any(fits({"CPU": cpus, "GPU": gpus}, node) for node in nodes):
        return ""
    most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")}
    wanted = f"{cpus:g} CPUs and {gpus:g} GPUs"
    return f"a trial must fit on one node, got {wanted} where nodes have at most {most['CPU']:g} and {most['GPU']:g}"


class Place(NamedTuple):
    """Places for trials on one kind of GPU."""

    resource: str
    gpus: float
    """Share of a GPU that a trial takes there."""
    number: int
    """Trials that fit there at once."""


class Places:
    """Gives each trial a place of some kind while it runs; without kinds, Ray alone decides."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._free = {place: place.number for place in places}
        self._taken: dict[str, Place] = {}
        self.lost: set[str] = set()
        """Resources of the kinds that no node has now, which are never all."""

    @property
    def kinds(self) -> Sequence[Place]:
        """One for each kind of GPU, none where Ray alone decides."""
        return list(self._free)

    def take(self, trial: str) -> dict[str, Any] | None:
        """What a trial's configuration says of its place; None while all are taken that are not lost."""
        if not self._free:
            return {}
        there = [place for place in self._free if place.resource not in self.lost]
        place = max(there, key=lambda place: self._free[place] / max(1, place.number))
        if self._free[place] <= 0:
            return None
        self._free[place] -= 1
        self._taken[trial] = place
        return {"place": {"resource": place.resource, "gpus": place.gpus}}

    def give_back(self, trial: str) -> None:
        """A trial has ended."""
        if place := self._taken.pop(trial, None):
            self._free[place] += 1


def request(config: Mapping[str, Any], cpus: float, gpus: float) -> tune.PlacementGroupFactory:
    """What Ray reserves for a trial: some CPUs, and the share of a GPU that it takes at its place, or everywhere."""
    place = config.get("place")
    bundle = {"CPU": cpus, "GPU": place["gpus"] if place else gpus}
    if place:
        bundle[place["resource"]] = BINDING
    return tune.PlacementGroupFactory([bundle])
