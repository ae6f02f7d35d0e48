"""Kinds of GPUs of a cluster, and the resource of Ray's by which a trial is bound to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_NAMES_NO_KIND = ("CPU", "GPU", "memory", "object_store_memory")


class GpuNode(NamedTuple):
    """A node that has GPUs."""

    resources: Mapping[str, float]
    """Resources as Ray has them."""
    memory: int
    """Bytes of one GPU; of the smallest where they differ."""
    name: str = ""
    """Name of that GPU; empty where it is not known."""


class GpuKind(NamedTuple):
    """GPUs of one size."""

    resource: str | None
    """One that all nodes with such GPUs have, and no other node with GPUs; None where nothing tells them apart."""
    memory: float
    """Bytes of one GPU; of the smallest where they differ."""
    nodes: tuple[Mapping[str, float], ...]
    """Resources of the nodes that have them."""
    name: str = ""
    """Name of the smallest; empty where it is not known."""


def gpu_kinds(nodes: Sequence[GpuNode]) -> list[GpuKind]:
    """Kinds of GPUs, the largest first; all as one where Ray's resources do not tell them apart."""
    sizes: dict[int, list[GpuNode]] = {}
    for node in nodes:
        if node.resources.get("GPU", 0) > 0:
            sizes.setdefault(round(node.memory / 2**30), []).append(node)
    kinds = []
    for size, alike in sorted(sizes.items(), reverse=True):
        others = [node for other, found in sizes.items() if other != size for node in found]
        kinds.append(_kind(_names(alike, others) if others else None, alike))
    if len(kinds) > 1 and any(kind.resource is None for kind in kinds):
        return [_kind(None, [node for found in sizes.values() for node in found])]
    return kinds


def _kind(resource: str | None, nodes: Iterable[GpuNode]) -> GpuKind:
    nodes = tuple(nodes)
    smallest = min(nodes, key=lambda node: node.memory)
    return GpuKind(resource, smallest.memory, tuple(node.resources for node in nodes), smallest.name)


def _names(alike: Sequence[GpuNode], others: Sequence[GpuNode]) -> str | None:
    """A resource that all of some nodes have and none of the others."""
    shared = set.intersection(*(set(node.resources) for node in alike))
    foreign = {name for node in others for name in node.resources}
    known = sorted(name for name in shared - foreign if name not in _NAMES_NO_KIND and not name.startswith("node:"))
    return known[0] if known else None
