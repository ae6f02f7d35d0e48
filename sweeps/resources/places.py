"""Places for trials on a cluster whose GPUs differ: how many fit on each kind, and who has which place.

Ray holds a trial's share of a GPU to be the same on every GPU, but a trial that takes a sixth of a 16 GB V100 takes
a twelfth of a 32 GB one and a third of an 8 GB RTX 2080. So a trial is bound to a kind of GPU, when one is free, by a
resource that only the nodes of that kind have, such as `gpu_16GB`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ray
from ray import tune

BINDING = 0.001
"""Amount that a trial takes of the resource that names a kind of GPU."""
WITHOUT_GPU = {"place": {"gpus": 0}}
"""The entry of a trial that needs no GPU though others do."""


def living_nodes() -> list[Mapping[str, float]]:
    """Resources of the cluster's nodes that live."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def gpu_hosts() -> set[str]:
    """Names of the hosts that live and, as Ray has it, have GPUs."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0]
    return {node["NodeManagerHostname"] for node in nodes}


def fits(request: Mapping[str, float], node: Mapping[str, float]) -> bool:
    """Tell whether a node of some resources could hold a trial, if nothing else ran on it."""
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
    """Trials that fit there at once, on the nodes that were there when it was found."""


class Places:
    """Gives each trial a place of some kind while it runs; without kinds, Ray alone decides."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.number = {place: place.number for place in places}
        """Trials that fit there at once on the nodes that have come."""
        self._free = dict(self.number)
        self._taken: dict[str, Place] = {}
        self.lost: set[str] = set()
        """Resources of the kinds that no node has now, which are never all."""

    @property
    def kinds(self) -> Sequence[Place]:
        """One for each kind of GPU, none where Ray alone decides."""
        return list(self._free)

    def take(self, trial: str) -> dict[str, Any] | None:
        """Take a place and return its entry for the trial's configuration; None while all not lost are taken."""
        if not self._free:
            return {}
        there = [place for place in self._free if place.resource not in self.lost]
        place = max(there, key=lambda place: self._free[place] / max(1, self.number[place]))
        if self._free[place] <= 0:
            return None
        self._free[place] -= 1
        self._taken[trial] = place
        return {"place": {"resource": place.resource, "gpus": place.gpus}}

    def widen(self, place: Place, number: int) -> None:
        """So many trials fit there now; where nodes have gone there stay as many, whose trials wait for others."""
        more = max(0, number - self.number[place])
        self.number[place] += more
        self._free[place] += more

    def give_back(self, trial: str) -> None:
        """A trial has ended."""
        if place := self._taken.pop(trial, None):
            self._free[place] += 1


def request(config: Mapping[str, Any], cpus: float, gpus: float) -> tune.PlacementGroupFactory:
    """The resources that Ray reserves for a trial: some CPUs, and its share of a GPU at its place, or everywhere."""
    place = config.get("place", {"gpus": gpus})
    return _bundle(cpus, place["gpus"], place.get("resource"))


@functools.cache
def _bundle(cpus: float, gpus: float, place: str | None) -> tune.PlacementGroupFactory:
    """One object for equal resources: Tune compares those of trials all the time, and unequal objects slowly."""
    return tune.PlacementGroupFactory([{"CPU": cpus, "GPU": gpus} | ({place: BINDING} if place else {})])
