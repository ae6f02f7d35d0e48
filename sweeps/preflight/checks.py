"""Faults of a cluster, and advice on them: pure functions of what its nodes have answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sweeps.preflight.gathering import Node
from sweeps.preflight.nodes import NEEDED, PACKAGES, Facts
from sweeps.resources.places import misfit
from sweeps.tracking.addresses import shown

CLOCK_SECONDS = 2.0
"""Seconds that clocks may be apart before runs of different nodes seem out of order."""
CACHE_BYTES = 1.5e9
"""Room that a node needs to make or receive a data set: the largest prepared file and its partial twin."""

OLD_GPU_ADVICE = (
    "V100s need a CUDA 12.6 build below 2.15: "
    "pip install --index-url https://download.pytorch.org/whl/cu126 'torch<2.15'"
)


class Demand(NamedTuple):
    """The demands of a sweep on each node."""

    storage: Path
    tracking_uri: str
    prepared: tuple[str, ...]
    """Names of their prepared files."""
    cpus: float
    """CPUs of one trial."""
    gpus: float
    """GPUs of one trial; 0 where none are wanted, or it is not known yet."""
    gpus_may_be_missing: bool = False
    """True if Ray's GPUs need not exist: trials hold none, or tests say so."""


class Finding(NamedTuple):
    """Something that is wrong."""

    column: str
    """Column of the table that it concerns."""
    nodes: tuple[str, ...]
    """Addresses; empty where it concerns the cluster."""
    rule: str
    """Rule that must hold, and what was found."""
    advice: str
    is_fatal: bool = True
    """True if a sweep must not start."""


Check = Callable[[Sequence[Node], Facts, Demand], Iterable[Finding]]


def examine(nodes: Sequence[Node], driver: Facts, demand: Demand) -> list[Finding]:
    """All findings, those that stop a sweep first. driver: what the driver's own process tells."""
    found = [finding for check in CHECKS for finding in check(nodes, driver, demand)]
    return sorted(found, key=lambda finding: not finding.is_fatal)


def _resources(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    if rule := misfit(demand.cpus, demand.gpus, [node.resources for node in nodes]):
        yield Finding("resources", (), rule, "lower --cpus-per-trial or --gpus-per-trial, or start larger nodes")


def _answers(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    for node in nodes:
        if node.facts is None:
            rule = f"each node must answer, got {node.silence}"
            advice = (
                "look there into session_latest/logs of Ray's folder (raylet.err, runtime_env_*.log), or stop Ray there"
            )
            yield Finding("host", (node.address,), rule, advice)


def _versions(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    for node, facts in _answered(nodes):
        if facts.python != driver.python:
            rule = f"Python must be the driver's {driver.python}, got {facts.python}"
            yield Finding("python", (node.address,), rule, "start Ray there from the same environment")
        for package in PACKAGES:
            ours, theirs = driver.packages.get(package), facts.packages.get(package)
            if theirs and ours and _public(theirs) != _public(ours):
                rule = f"{package} must be the driver's {_public(ours)}, got {_public(theirs)}"
                advice = f"pip install '{package}=={_public(ours)}' there and restart Ray"
                yield Finding(package if package in ("ray", "torch") else "packages", (node.address,), rule, advice)
        if missing := [package for package in NEEDED if package not in facts.packages]:
            rule = f"what a trial imports must be installed, but {' '.join(missing)} {_is(missing)} missing"
            yield Finding("packages", (node.address,), rule, f"pip install {' '.join(missing)} there and restart Ray")
        if facts.code != driver.code:
            rule = f"a node must run this project's code {driver.code}, got {facts.code}"
            advice = "stop Ray there (`ray stop`) and remove Ray's folder: it keeps an older copy"
            yield Finding("packages", (node.address,), rule, advice)


def _storage(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    advice = "mount the same shared folder there, at the same path, and give it with --storage-path"
    for node, facts in _answered(nodes):
        if facts.storage:
            rule = f"`storage_path` must be a folder that all nodes share, but `{demand.storage}` {facts.storage}"
            yield Finding("storage", (node.address,), rule, advice)
        elif node.unseen:
            others = listed(node.unseen)
            rule = f"each node must see within 3 s what others write to `{demand.storage}`, but not what {others} wrote"
            yield Finding("storage", (node.address,), rule, f"{advice}; mount NFS with actimeo=3 or less")


def _caches(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    advice = "give LARVAE_CACHE_DIR a local disk with room, there, before `ray start`"
    for node, facts in _answered(nodes):
        if set(demand.prepared) <= set(facts.prepared):
            continue
        if facts.cache:
            yield Finding(
                "data", (node.address,), f"the cache of data sets must be writable, but {facts.cache}", advice
            )
        elif facts.free_bytes < CACHE_BYTES:
            rule = (
                f"the cache of data sets must have {CACHE_BYTES / 1e9:g} GB left, got {facts.free_bytes / 1e9:.2g} GB"
            )
            yield Finding("data", (node.address,), rule, advice)


def _tracking(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    for node, facts in _answered(nodes):
        if facts.tracking:
            rule = f"a node should reach MLflow at {shown(demand.tracking_uri)}, but {facts.tracking}"
            advice = (
                "open its port to that node; until then start sweeps on others: only a sweep's driver writes to MLflow"
            )
            yield Finding("MLflow", (node.address,), rule, advice, is_fatal=False)


def _gpus(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    for node, facts in _answered(nodes):
        declared = int(node.resources.get("GPU", 0))
        if "torch" not in facts.packages:
            continue
        if declared > len(facts.gpus) and not demand.gpus_may_be_missing:
            rule = f"PyTorch must see the {declared} GPUs that Ray counts, got {len(facts.gpus)}"
            advice = "install a CUDA build of torch that suits its driver (`nvidia-smi`), or `ray start --num-gpus 0`"
            yield Finding("GPUs", (node.address,), rule, advice)
        for gpu in {gpu.capability: gpu for gpu in facts.gpus if not gpu.is_supported}.values():
            rule = f"torch {facts.packages['torch']} must have code for {gpu.name} ({gpu.capability}), but has none"
            yield Finding("GPUs", (node.address,), rule, OLD_GPU_ADVICE)


def _clocks(nodes: Sequence[Node], driver: Facts, demand: Demand) -> Iterator[Finding]:
    for node in nodes:
        if abs(node.clock_offset) > CLOCK_SECONDS:
            way = "ahead of" if node.clock_offset > 0 else "behind"
            offset = f"{abs(node.clock_offset):.1f} s {way} the driver's"
            rule = f"clocks must agree within {CLOCK_SECONDS:g} s, but one is {offset}"
            yield Finding("clock", (node.address,), rule, "start chrony or another NTP client there", is_fatal=False)


CHECKS: tuple[Check, ...] = (_resources, _answers, _versions, _storage, _caches, _tracking, _gpus, _clocks)


def together(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that say the same of several nodes as one."""
    merged: dict[Finding, list[str]] = {}
    for finding in findings:
        merged.setdefault(finding._replace(nodes=()), []).extend(finding.nodes)
    return [finding._replace(nodes=tuple(nodes)) for finding, nodes in merged.items()]


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a sentence, the first few and how many more."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _answered(nodes: Sequence[Node]) -> Iterator[tuple[Node, Facts]]:
    return ((node, node.facts) for node in nodes if node.facts is not None)


def _public(version: str) -> str:
    """A version without its build, such as `+cu126`: a node without GPUs may have another."""
    return version.partition("+")[0]


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
