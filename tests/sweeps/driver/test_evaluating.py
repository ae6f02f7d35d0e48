"""Trials that evaluate what others have trained: while CPUs are spare, and all where nothing else waits."""

from __future__ import annotations

from typing import Any

from larvae.config import MemberConfig
from sweeps.driver.evaluating import Evaluations
from sweeps.driver.member_reporter import trial_name
from sweeps.driver.queueing import MemberQueue
from sweeps.resources.places import Places, request

MEMBERS = [MemberConfig(seed=seed) for seed in range(6)]


class Cluster:
    """A queue of two trials of three members, and what is handed out."""

    def __init__(self, spare: int) -> None:
        self.evaluations = Evaluations()
        self.evaluations.spare = spare
        self.queue = MemberQueue([MEMBERS[:3], MEMBERS[3:]], Places([]), self.evaluations)
        self.number = 0

    def next(self) -> Any:
        """The seeds of the trial that comes next, and its GPUs; None while none does."""
        suggestion = self.queue.suggest(str(self.number))
        if not isinstance(suggestion, dict):
            return suggestion
        self.number += 1
        [bundle] = request(suggestion, 1, 0.5).bundles
        return [fields["seed"] for fields in suggestion["members"]], bundle.get("GPU", 0)

    def train(self, trial: int, members: list[MemberConfig]) -> None:
        for member in members:
            self.evaluations.add(member)
        self.queue.on_trial_complete(str(trial), {})


def test_evaluations_go_first_while_cpus_are_spare_for_them() -> None:
    cluster = Cluster(spare=2)
    assert cluster.next() == ([0, 1, 2], 0.5)
    cluster.train(0, MEMBERS[:3])
    assert [cluster.next() for _ in range(3)] == [([0], 0), ([1], 0), ([3, 4, 5], 0.5)]
    assert cluster.next() == ([2], 0)  # no GPU waits for a CPU any more
    cluster.train(3, MEMBERS[3:])
    assert [cluster.next() for _ in range(3)] == [([3], 0), ([4], 0), ([5], 0)]
    assert cluster.next() == MemberQueue.FINISHED


def test_without_spare_cpus_gpus_go_first_and_none_is_forgotten() -> None:
    cluster = Cluster(spare=0)
    cluster.next()
    cluster.train(0, MEMBERS[:3])
    assert cluster.next() == ([3, 4, 5], 0.5)
    assert [cluster.next()[0] for _ in range(3)] == [[0], [1], [2]]
    assert cluster.next() is None  # the other trial may have more
    cluster.train(1, MEMBERS[3:])
    assert [cluster.next()[0] for _ in range(3)] == [[3], [4], [5]]
    assert cluster.next() == MemberQueue.FINISHED


def test_a_member_is_evaluated_once_though_its_trial_tells_of_it_again() -> None:
    """A process that takes the place of another finds what that has trained."""
    cluster = Cluster(spare=2)
    cluster.next()
    cluster.evaluations.add(MEMBERS[0])
    assert cluster.next() == ([0], 0)
    cluster.train(0, MEMBERS[:2])
    assert [cluster.next() for _ in range(2)] == [([1], 0), ([3, 4, 5], 0.5)]
    cluster.train(3, [])
    assert cluster.next() == MemberQueue.FINISHED


def test_a_trial_that_evaluates_is_named_so() -> None:
    """Its member's own trial may have the same name else, and the same folder."""
    evaluations = Evaluations()
    evaluations.add(MEMBERS[0])
    evaluating: Any = type("Trial", (), {"config": evaluations.suggest("1", is_all=True)})
    training: Any = type("Trial", (), {"config": {"members": [MEMBERS[0].to_dict()]}})
    assert trial_name(training) == MEMBERS[0].content_hash
    assert trial_name(evaluating) == f"{MEMBERS[0].content_hash}-evaluated"
