"""A trial's share of a node: arithmetic, and which members train together."""

from __future__ import annotations

import pytest

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.together.group import likeness
from sweeps.resources import shares
from sweeps.resources.shares import TrialResources, groups, halves

MEMBERS = [
    MemberConfig(batch_size=4, tau=tau, z_dim=z_dim, seed=seed)
    for z_dim in (2, 5)
    for tau in (0, 1, 5)
    for seed in (0, 1)
]
"""τ = 1 and 5 have four alike."""


def test_concurrency_counts_every_share_of_every_gpu_and_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(resources: TrialResources, **node: float) -> int:
        monkeypatch.setattr(shares, "living_nodes", lambda: [node])
        return resources.concurrency()

    for trials in range(1, 13):
        for gpus in (1, 2, 4):
            assert at_once(TrialResources(1, 1 / trials), CPU=1000.0, GPU=float(gpus)) == trials * gpus
    assert at_once(TrialResources(3, 0), CPU=8) == 2
    assert at_once(TrialResources(1, 0), CPU=8, GPU=1) == 8
    assert at_once(TrialResources(1, 0.25), CPU=2, GPU=1) == 2
    assert at_once(TrialResources(1, 2), CPU=64, GPU=5) == 2
    assert at_once(TrialResources(1, 0.6), CPU=64, GPU=4) == 4
    assert at_once(TrialResources(16, 0), CPU=8) == 1


def test_a_trial_lies_on_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nodes have left beside whole trials adds up to none, and CPUs without a GPU are for evaluations."""

    def on(*nodes: dict[str, float]) -> None:
        monkeypatch.setattr(shares, "living_nodes", lambda: nodes)

    on(*[{"CPU": 8.0}] * 10)
    assert (TrialResources(5, 0).concurrency(), TrialResources(5, 0).spare()) == (10, 0)
    on({"CPU": 64.0}, *[{"CPU": 4.0, "GPU": 1.0}] * 2)
    assert (TrialResources(1, 1 / 6).concurrency(), TrialResources(1, 1 / 6).spare()) == (8, 64)
    on(*[{"CPU": 8.0, "GPU": 3.0}] * 2)
    assert TrialResources(1, 2.0).concurrency() == 2


@pytest.mark.usefixtures("ray_session")
def test_a_trial_that_no_node_holds_is_refused() -> None:
    TrialResources(1, 1 / 6).require_fitting()
    for cpus, gpus in ((3, 0), (1, 3)):
        rule = f"fit on one node, got {cpus} CPUs and {gpus} GPUs where nodes have at most 2 and 2"
        with pytest.raises(InvalidInputError, match=rule):
            TrialResources(cpus, gpus).require_fitting()


def test_groups_are_alike_complete_and_no_larger_than_asked() -> None:
    """And seeds of one configuration come together."""
    kinds = list(map(likeness, MEMBERS))
    for size in (1, 2, 3, 8):
        formed = groups(MEMBERS, size)
        assert sorted(m.content_hash for g in formed for m in g) == sorted(m.content_hash for m in MEMBERS)
        assert all(len(set(map(likeness, group))) == 1 and len(group) <= size for group in formed)
        assert len(formed) == sum(-(-kinds.count(kind) // size) for kind in set(kinds))
    assert all(first.tau == second.tau and first.z_dim == second.z_dim for first, second in groups(MEMBERS, 2))


def test_halves_have_all_members_once_and_no_more_than_half() -> None:
    for number in range(2, len(MEMBERS) + 1):
        first, second = halves(MEMBERS[:number])
        assert first + second == MEMBERS[:number]
        assert len(first) - len(second) in (0, 1)
