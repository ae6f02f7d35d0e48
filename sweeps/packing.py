"""What share of a node a trial takes, and which members it trains together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from larvae import datasets
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.datasets.specification import Specification
from larvae.datasets.store import BYTES_PER_IMAGE
from larvae.errors import InvalidInputError
from larvae.functional import can_compile
from larvae.group import Group, Likeness, likeness
from larvae.training import ENCODING_BATCH, Trainer
from sweeps.places import GpuKind, Place, misfit

ASSUMED_GPU_BYTES = 16 * 10**9
ASSUMED_TRIAL_BYTES = 2.5 * 10**9
"""A model under 2 GB and the 0.5 GB that a process's CUDA context costs: six trials on a 16 GB V100."""
MOST_TOGETHER = 8
PROBE_SECONDS = 300
"""A probe that compiles a step may take minutes."""
CONTEXT_BYTES = 0.5 * 10**9
"""What a process's CUDA context takes of a GPU."""
_MARGIN = 1.2  # room for what the allocator fragments


@dataclass(frozen=True, slots=True)
class TrialResources:
    """What Ray reserves for one trial."""

    cpus: int
    gpus: float
    members: int = 1
    """Members that the trial trains together."""
    places: tuple[Place, ...] = ()
    """Where GPUs differ: the share that it takes of each kind; `gpus` is then the largest of them."""

    def require_fitting(self) -> None:
        """Raise InvalidInputError if no node of the cluster could ever hold one trial."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if rule := misfit(self.cpus, self.gpus, nodes):
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
) -> TrialResources:
    """The share and the members as given or, where Ray has GPUs, as a probe of the largest members measures it.

    kinds: of the cluster's GPUs, where they are known; the one that is probed may be of any of them.
    """
    if gpus == 0 or ray.cluster_resources().get("GPU", 0) == 0:
        return TrialResources(cpus, gpus or 0.0, members_per_trial or 1)
    together = members_per_trial or min(MOST_TOGETHER, max(map(len, groups(members, MOST_TOGETHER))))
    if gpus is not None:
        return TrialResources(cpus, gpus, together)
    largest = max(members, key=size)
    measured = probe_gpu_memory(largest, together)
    while measured[0] is None and together > 1 and members_per_trial is None:  # too many, or no GPU at all
        together //= 2
        measured = probe_gpu_memory(largest, together)
    if not kinds:
        return TrialResources(cpus, gpu_fraction(*measured), together)
    places = trial_places(cpus, measured[0], kinds)
    return TrialResources(cpus, max(place.gpus for place in places), together, places if len(kinds) > 1 else ())


def trial_places(cpus: int, trial_bytes: float | None, kinds: Sequence[GpuKind]) -> tuple[Place, ...]:
    """Where trials of some size go; kinds of GPUs that are too small for one get none, unless all are."""
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
    return member.batch_size * channels, member.replaces_labels, member.regulariser == "factor_vae", member.z_dim


def gpu_fraction(trial_bytes: float | None, gpu_bytes: float | None) -> float:
    """One over the number of trials that fit on a GPU; 1/6 where nothing was measured."""
    return 1 / max(1, int((gpu_bytes or ASSUMED_GPU_BYTES) // _with_margin(trial_bytes)))


def _with_margin(trial_bytes: float | None) -> float:
    return trial_bytes * _MARGIN if trial_bytes else ASSUMED_TRIAL_BYTES


def probe_gpu_memory(member: MemberConfig, together: int = 1) -> tuple[float | None, float | None]:
    """Train some members like one for a few steps on a GPU of the cluster: bytes that a trial takes, and the GPU has.

    (None, None) where no step could be trained.
    """
    probe = ray.remote(num_gpus=1, max_calls=1, max_retries=0)(_train_few_steps)
    measurement = probe.remote(member, together)
    try:
        return ray.get(measurement, timeout=PROBE_SECONDS)
    except (ray.exceptions.RayError, RuntimeError):
        ray.cancel(measurement, force=True)  # else one that waits for a GPU would take it later
        return None, None


def _train_few_steps(member: MemberConfig, together: int) -> tuple[float | None, float | None]:
    if not torch.cuda.is_available():
        return None, None
    dataset = blank_dataset(datasets.specification(member.dataset))
    configs = [dataclasses.replace(member, seed=seed) for seed in range(together)]
    trainers = [Trainer(config, dataset, device="cuda", compiled=can_compile()) for config in configs]
    step = Group(trainers).step if together > 1 else trainers[0].step
    for _ in range(3):
        step()
    trainers[0].posterior_means(trainers[0].labelled[:ENCODING_BATCH])
    taken = torch.cuda.max_memory_reserved() + CONTEXT_BYTES + _images_bytes(dataset.specification)
    return taken, torch.cuda.get_device_properties(0).total_memory


def _images_bytes(specification: Specification) -> int:
    """What a process's images take on a GPU (`larvae.datasets.on_device`): binary ones lie there, packed to bits."""
    return specification.num_images * BYTES_PER_IMAGE if specification.channels == 1 else 0


def cap_gpu_memory(gpus: float) -> None:
    """Hold this process to its share of a GPU: what it takes beyond that fails here, and not in its neighbour."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(0.01, min(1.0, gpus) - CONTEXT_BYTES / total))


class BlankImages:
    """Stands in for a data set's images where only their shape matters: no node need have them."""

    maximum = 1
    fingerprint = ""

    def __init__(self, specification: Specification) -> None:
        self.specification = specification

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        return np.zeros((len(indices), self.specification.channels, 64, 64), np.uint8)

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        return np.zeros((len(indices), self.specification.factors.num_factors), np.int64)


def blank_dataset(specification: Specification) -> Dataset:
    """A data set of black images."""
    return Dataset(specification, BlankImages(specification))
