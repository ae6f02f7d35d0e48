"""The share of a node that a trial takes, and the members that it trains together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import ray

from larvae import datasets
from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.group import Likeness, likeness
from larvae.regularisers import REGULARISERS
from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.places import Place, living_nodes, misfit
from sweeps.resources.probe import Measurement, Outcome, probe_gpu_memory

ASSUMED_GPU_BYTES = 16 * 10**9
ASSUMED_TRIAL_BYTES = 2.5 * 10**9
"""A model under 2 GB and the 0.5 GB that a process's CUDA context costs: six trials on a 16 GB V100."""
MOST_TOGETHER = 8
_MARGIN = 1.2  # room for what the allocator fragments


@dataclass(frozen=True, slots=True)
class TrialResources:
    """The resources that Ray reserves for one trial."""

    cpus: int
    gpus: float
    members: int = 1
    """Members that the trial trains together."""
    places: tuple[Place, ...] = ()
    """Shares that it takes of each kind of GPU, where they differ; `gpus` is then the largest of them."""

    def require_fitting(self) -> None:
        """Raise InvalidInputError if no node of the cluster could ever hold one trial."""
        if rule := misfit(self.cpus, self.gpus, living_nodes()):
            raise InvalidInputError(f"{rule}: lower --cpus-per-trial or --gpus-per-trial")

    def concurrency(self) -> int:
        """Trials that run at once on the cluster as it is."""
        if self.places:
            return max(1, sum(place.number for place in self.places))
        total = ray.cluster_resources()
        by_cpus = total.get("CPU", 0) // self.cpus
        return max(1, int(min(by_cpus, self.trials_on(total.get("GPU", 0)))))

    def fitting_on(self, node: Mapping[str, float]) -> int:
        """Trials that fit on a node of some resources at once."""
        return int(min(node.get("CPU", 0) // self.cpus, self.trials_on(node.get("GPU", 0))))

    def trials_on(self, gpus: float) -> float:
        """Trials that some GPUs hold; a share below one never spans two of them."""
        if not self.gpus:
            return math.inf
        return gpus * int(1 / self.gpus) if self.gpus < 1 else gpus // self.gpus


def groups(members: Iterable[MemberConfig], size: int) -> list[list[MemberConfig]]:
    """Members as trials train them: alike ones together, at most `size`, in the order given."""
    alike: dict[Likeness, list[MemberConfig]] = {}
    for member in members:
        alike.setdefault(likeness(member), []).append(member)
    return [kind[start : start + size] for kind in alike.values() for start in range(0, len(kind), size)]


def trial_resources(
    cpus: int,
    gpus: float | None,
    members_per_trial: int | None,
    members: Sequence[MemberConfig],
    kinds: Sequence[GpuKind] = (),
    tell: Callable[[str], None] = print,
) -> TrialResources:
    """The share and the members as given or, where Ray has GPUs, as a probe of the largest members measures it.

    kinds: of the cluster's GPUs, where they are known; the one that is probed may be of any of them.
    tell: says a line to the user.
    """
    if gpus == 0 or ray.cluster_resources().get("GPU", 0) == 0:
        return TrialResources(cpus, gpus or 0.0, members_per_trial or 1)
    together = members_per_trial or min(MOST_TOGETHER, max(map(len, groups(members, MOST_TOGETHER))))
    if gpus is not None:
        return TrialResources(cpus, gpus, together)
    largest = max(members, key=size)
    measured = probe_gpu_memory(largest, together, tell)
    while measured.outcome is Outcome.OUT_OF_MEMORY and together > 1 and members_per_trial is None:
        together //= 2
        measured = probe_gpu_memory(largest, together, tell)
    if measured.outcome is Outcome.NO_CUDA:
        together = members_per_trial or 1  # without a GPU, members gain nothing from each other
    resources = _shared(cpus, together, measured, kinds)
    if line := _unmeasured(measured, resources):
        tell(line)
    return resources


def _shared(cpus: int, together: int, measured: Measurement, kinds: Sequence[GpuKind]) -> TrialResources:
    """The share that a trial takes of a GPU, or of each kind of them."""
    if not kinds:
        return TrialResources(cpus, gpu_fraction(measured.trial_bytes, measured.gpu_bytes), together)
    places = trial_places(cpus, measured.trial_bytes, kinds)
    return TrialResources(cpus, max(place.gpus for place in places), together, places if len(kinds) > 1 else ())


def _unmeasured(measured: Measurement, resources: TrialResources) -> str:
    """The line to print where a share is not measured but assumed; empty where there is nothing to say."""
    if measured.outcome not in (Outcome.NO_FREE_GPU, Outcome.FAILED):
        return ""
    why = measured.outcome.value + (f": {measured.reason}" if measured.reason else "")
    members = f"{resources.members} member{'s' if resources.members > 1 else ''}"
    advice = "free a GPU, or set" if measured.outcome is Outcome.NO_FREE_GPU else "set"
    taken = f"a trial of {members} takes {resources.gpus:.3g} GPU by default"
    return f"What a trial takes was not measured ({why}): {taken}; {advice} --gpus-per-trial"


def trial_places(cpus: int, trial_bytes: float | None, kinds: Sequence[GpuKind]) -> tuple[Place, ...]:
    """The places of trials of some size; kinds of GPUs that are too small for one get none, unless all are."""
    needed = _with_margin(trial_bytes)
    large_enough = [kind for kind in kinds if kind.memory >= needed] or list(kinds)
    places = []
    for kind in large_enough:
        resources = TrialResources(cpus, gpu_fraction(trial_bytes, kind.memory))
        number = sum(resources.fitting_on(node) for node in kind.nodes)
        places.append(Place(kind.resource or "", resources.gpus, number))
    return tuple(places)


def size(member: MemberConfig) -> tuple[int, bool, bool, int]:
    """Orders members by the memory they take."""
    channels = datasets.specification(member.dataset).channels
    has_discriminator = REGULARISERS[member.regulariser].has_discriminator
    return member.batch_size * channels, member.replaces_labels, has_discriminator, member.z_dim


def gpu_fraction(trial_bytes: float | None, gpu_bytes: float | None) -> float:
    """One over the number of trials that fit on a GPU; 1/6 where nothing was measured."""
    return 1 / max(1, int((gpu_bytes or ASSUMED_GPU_BYTES) // _with_margin(trial_bytes)))


def _with_margin(trial_bytes: float | None) -> float:
    return trial_bytes * _MARGIN if trial_bytes else ASSUMED_TRIAL_BYTES
