"""The share of a node that a trial takes, and the members that it trains together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from larvae import datasets
from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.regularisers import REGULARISERS
from larvae.together.group import Likeness, likeness
from sweeps.resources.places import Place, living_nodes, misfit


@dataclass(frozen=True, slots=True)
class TrialResources:
    """The resources that Ray reserves for one trial."""

    cpus: int
    gpus: float
    members: int = 1
    """Members that the trial trains together."""
    places: tuple[Place, ...] = ()
    """Shares that it takes of each kind of GPU, where they differ; `gpus` is then the largest of them."""

    def of_whole_gpus(self, gpus: float) -> TrialResources:
        """The resources of a trial that takes so many whole GPUs: of several kinds, the one with the most memory."""
        roomiest = sorted(self.places, key=lambda place: place.gpus)[:1]
        places = (Place(place.resource, gpus, max(1, int(place.number * place.gpus / gpus))) for place in roomiest)
        return TrialResources(self.cpus, gpus, places=tuple(places))

    @property
    def mean_gpus(self) -> float:
        """The share of a GPU that a trial takes, over the places for trials where kinds differ."""
        number = sum(place.number for place in self.places)
        return sum(place.number * place.gpus for place in self.places) / number if number else self.gpus

    def require_fitting(self) -> None:
        """Raise InvalidInputError if no node of the cluster could ever hold one trial."""
        if rule := misfit(self.cpus, self.gpus, living_nodes()):
            raise InvalidInputError(f"{rule}: lower --cpus-per-trial or --gpus-per-trial")

    def concurrency(self) -> int:
        """Trials that run at once on the cluster as it is."""
        if self.places:
            return max(1, sum(place.number for place in self.places))
        return max(1, sum(map(self.fitting_on, living_nodes())))

    def spare(self) -> int:
        """Trials that need no GPU, for which the cluster has CPUs beside those that do."""
        without_gpu = TrialResources(self.cpus, 0)
        return sum(map(without_gpu.fitting_on, living_nodes())) - self.concurrency()

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


def halves(members: Sequence[MemberConfig]) -> list[list[MemberConfig]]:
    """The members of a trial as two trials have them, the first of which has one more where their number is odd."""
    middle = math.ceil(len(members) / 2)
    return [list(members[:middle]), list(members[middle:])]


def size(member: MemberConfig) -> tuple[int, bool, bool, int]:
    """Orders members by the memory they take."""
    channels = datasets.specification(member.dataset).channels
    has_discriminator = REGULARISERS[member.regulariser].has_discriminator
    return member.batch_size * channels, member.replaces_labels, has_discriminator, member.z_dim
