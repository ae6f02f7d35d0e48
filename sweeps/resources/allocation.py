"""Decides what a trial takes of a node: as given, as measured on each kind of GPU, or as assumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
import torch

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError, one_line
from larvae.together.group import likeness
from sweeps.resources.choosing import KindRates, Sizes, assumed_rates, choose
from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.missing_gpus import ADVICE, MUST_BE_FOUND, may_be_missing
from sweeps.resources.places import living_nodes
from sweeps.resources.probe import Gpu, GpuProbe, Probed, reserved_gpu
from sweeps.resources.rate_search import PROCESSES, RateSearch, members_to_try
from sweeps.resources.rates import Conditions, GpuRates, Measurement, Outcome, described, rates_table
from sweeps.resources.shares import TrialResources, size

ASSUMED_TOGETHER = 8
"""Members, at most, that a trial trains together where that is neither given nor measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A study's trials, as far as they decide what each takes, and what the user says of them."""

    sample: Sequence[MemberConfig]
    """Members like those of the study: the largest of them is measured."""
    together: int
    """Members that are alike, at most, and could be of one trial."""
    total: int
    """Members of the study."""
    sizes: Sizes
    """Members of each trial that is left, given the most that one has; none where all have ended."""
    cpus: int = 1
    """CPUs of a trial."""
    gpus: float | None = None
    """GPUs of a trial, if given."""
    members: int | None = None
    """Members of a trial, if given."""
    compiles: bool = True
    probe_minutes: float = 10.0
    """Minutes, at most, that the measurements of a kind of GPU take."""


class Allocation(NamedTuple):
    """A trial's resources, and the rates that they rest upon."""

    resources: TrialResources
    rates: tuple[GpuRates, ...] = ()


def allocate(
    request: Request, kinds: Sequence[GpuKind], kept: Sequence[GpuRates], tell: Callable[[Any], None]
) -> Allocation:
    """Allocate a trial's share and members, from rates that are kept or are measured now where Ray has GPUs.

    kinds: of the cluster's GPUs, where they are known. tell: shows a line, or a table, to the user.
    Raises InvalidInputError where PyTorch finds no GPU though Ray has some.
    """
    if request.gpus == 0 or ray.cluster_resources().get("GPU", 0) == 0:
        return Allocation(TrialResources(request.cpus, request.gpus or 0.0, request.members or 1))
    assumed_members = request.members or min(ASSUMED_TOGETHER, request.together)
    if request.gpus is not None:
        return Allocation(TrialResources(request.cpus, request.gpus, assumed_members))
    kinds = kinds or [GpuKind(None, 0.0, tuple(node for node in living_nodes() if node.get("GPU", 0) > 0))]
    if not request.sizes(1):
        return Allocation(_assumed(request, kinds, assumed_members, Outcome.NO_FREE_GPU))
    if (most := max(map(_most_cpus, kinds))) < request.cpus:
        rule = f"`cpus_per_trial` must be at most the {most:g} of a node with GPUs"
        raise InvalidInputError(f"{rule}, got {request.cpus}")
    found = [_rates_of(kind, request, kept, tell) for kind in kinds]
    measured = [rates for rates in found if rates.is_measured]
    if not measured:
        return Allocation(_unmeasured(request, kinds, assumed_members, found[0].rows[0], tell))
    lent = [_lent(kind, own, measured) for kind, own in zip(kinds, found, strict=True)]
    resources = choose(request.cpus, lent, request.sizes)
    shares = {place.resource: place.gpus for place in resources.places} or {kinds[0].resource or "": resources.gpus}
    for kind, rates in zip(kinds, found, strict=True):
        if rates.is_measured:
            share = shares.get(kind.resource or "")
            tell(rates_table(rates, resources.members, round(1 / share) if share else 0))
    return Allocation(resources, tuple(measured))


def _most_cpus(kind: GpuKind) -> float:
    """CPUs of the node of a kind that has most."""
    return max((node.get("CPU", 0) for node in kind.nodes), default=math.inf)


def _rates_of(kind: GpuKind, request: Request, kept: Sequence[GpuRates], tell: Callable[[Any], None]) -> GpuRates:
    """The rates of a kind of GPU: those that are kept where they fit, else measured; one row tells why there are none.

    Kinds whose name is known need no free GPU for what is kept.
    """
    probed = _probed(kind, request)
    known = Gpu(kind.name, int(kind.memory), torch.__version__.partition("+")[0])
    unknown = _conditions(known, probed, request)
    if kept_rates := _kept(kept, unknown):
        return kept_rates
    if _most_cpus(kind) < request.cpus:  # none would ever be free
        return GpuRates(unknown, (Measurement(0, 0, Outcome.NO_FREE_GPU),))
    with reserved_gpu(probed, kind.resource, tell) as probe:
        if probe is None:
            return GpuRates(unknown, (Measurement(0, 0, Outcome.NO_FREE_GPU),))
        try:
            gpu = probe.gpu()
        except ray.exceptions.RayError as error:
            reason = one_line(getattr(error, "cause", None) or error)
            return GpuRates(unknown, (Measurement(0, 0, Outcome.FAILED, reason=reason),))
        if gpu is None:
            return GpuRates(unknown, (Measurement(0, 0, Outcome.NO_CUDA),))
        conditions = _conditions(gpu, probed, request)
        return _kept(kept, conditions) or _measured(probe, conditions, request.probe_minutes, tell)


def _measured(probe: GpuProbe, conditions: Conditions, minutes: float, tell: Callable[[Any], None]) -> GpuRates:
    tell(
        f"Measuring how a GPU ({conditions.gpu}) is filled best, for {minutes:g} min at most; a trained study keeps it"
    )
    measured = conditions.members, conditions.most_processes, conditions.gpu_bytes
    search = RateSearch(*measured, probe.measure, seconds=60 * minutes)
    return GpuRates(conditions, search.run())


def _kept(kept: Sequence[GpuRates], conditions: Conditions) -> GpuRates | None:
    return next((rates for rates in kept if _fits(rates.conditions, conditions)), None)


def _fits(kept: Conditions, conditions: Conditions) -> bool:
    """Tell that rates need not be measured anew: other numbers of members are none that were given.

    They depend on the number of GPUs, which come and go.
    """
    has_choice = min(len(kept.members), len(conditions.members)) > 1
    return kept._replace(members=conditions.members) == conditions and (
        has_choice or kept.members == conditions.members
    )


def _probed(kind: GpuKind, request: Request) -> Probed:
    """As many processes at once are tried as a GPU's part of its node's CPUs is enough for."""
    room = max((node.get("CPU", 0) // request.cpus // node["GPU"] for node in kind.nodes), default=1)
    most = int(min(PROCESSES[-1], max(1, room)))
    return Probed(max(request.sample, key=size), request.cpus, request.compiles, most)


def _conditions(gpu: Gpu, probed: Probed, request: Request) -> Conditions:
    """The conditions of measurements: more members together than there are for each GPU would leave some idle."""
    for_each_gpu = math.ceil(request.total / ray.cluster_resources()["GPU"])
    return Conditions(
        gpu=gpu.name,
        gpu_bytes=gpu.memory,
        torch=gpu.torch,
        likeness=described(likeness(probed.member)),
        cpus=probed.cpus,
        compiled=probed.compiles,
        members=(request.members,) if request.members else members_to_try(min(request.together, for_each_gpu)),
        most_processes=probed.most_processes,
    )


def _lent(kind: GpuKind, own: GpuRates, measured: Sequence[GpuRates]) -> KindRates:
    """A kind with its rates or, where it has none, with those of the kind that is nearest in memory."""
    if own.is_measured:
        held = max(row.process_bytes for row in own.rows if row.is_measured)  # with a reserve: more than there is, even
        return KindRates(kind._replace(memory=max(own.conditions.gpu_bytes, held)), own.rows)
    nearest = min(measured, key=lambda rates: abs(rates.conditions.gpu_bytes - kind.memory))
    return KindRates(kind, nearest.rows)


def _assumed(request: Request, kinds: Sequence[GpuKind], members: int, outcome: Outcome) -> TrialResources:
    rates = [KindRates(kind, assumed_rates(members, kind.memory or None, outcome)) for kind in kinds]
    return choose(request.cpus, rates, request.sizes)


def _unmeasured(
    request: Request, kinds: Sequence[GpuKind], members: int, failure: Measurement, tell: Callable[[Any], None]
) -> TrialResources:
    """The assumed resources, and a line that tells so. Raises InvalidInputError where PyTorch finds no GPU."""
    if failure.outcome is Outcome.NO_CUDA:
        if not may_be_missing():
            raise InvalidInputError(f"{MUST_BE_FOUND}: {ADVICE}")
        return _assumed(request, kinds, request.members or 1, failure.outcome)  # without one, members gain nothing
    if failure.outcome is Outcome.OUT_OF_MEMORY:
        members = request.members or 1
    resources = _assumed(request, kinds, members, failure.outcome)
    why = failure.outcome.value + (f": {failure.reason}" if failure.reason else "")
    taken = f"a trial of {members} member{'s' if members > 1 else ''} takes {resources.gpus:.3g} GPU by default"
    advice = "free a GPU, or set" if failure.outcome is Outcome.NO_FREE_GPU else "set"
    tell(f"What a trial takes was not measured ({why}): {taken}; {advice} --gpus-per-trial")
    return resources
