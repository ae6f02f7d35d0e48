"""A trial's share of a node: arithmetic, the probe's answers, and which members train together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.group import likeness
from sweeps.resources import shares
from sweeps.resources.probe import Measurement, Outcome
from sweeps.resources.shares import ASSUMED_TRIAL_BYTES, TrialResources, gpu_fraction, groups, trial_resources

MEMBERS = [
    MemberConfig(batch_size=4, tau=tau, z_dim=z_dim, seed=seed)
    for z_dim in (2, 5)
    for tau in (0, 1, 5)
    for seed in (0, 1)
]
"""τ = 1 and 5 have four alike."""


def test_trials_fit_with_room_to_spare_and_unknown_ones_are_six_to_a_16_gb_card() -> None:
    assert [round(1 / gpu_fraction(None, memory)) for memory in (None, 16e9, 32e9, 11e9)] == [6, 6, 12, 4]
    assert int(16e9 // ASSUMED_TRIAL_BYTES) == 6
    for trial, card in ((1e9, 16e9), (1.9e9, 11e9), (3e9, 80e9)):
        trials = round(1 / gpu_fraction(trial, card))
        assert trials * trial <= card < (trials + 1) * trial * 1.2
    assert gpu_fraction(40e9, 16e9) == 1  # never more than a whole card is asked for


def test_concurrency_counts_every_share_of_every_gpu_and_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(resources: TrialResources, **cluster: float) -> int:
        monkeypatch.setattr(shares.ray, "cluster_resources", lambda: cluster)
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


Probed = Callable[..., tuple[TrialResources, list[int], list[str]]]


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> Probed:
    """Resources, as a probe with some answers gives them; how many members it tried together, and what was told."""

    def ask(answers: Sequence[Measurement], *given: float | None) -> tuple[TrialResources, list[int], list[str]]:
        tried: list[int] = []
        said: list[str] = []

        def probe(member: MemberConfig, together: int, tell: Callable[[str], None]) -> Measurement:
            tried.append(together)
            return answers[len(tried) - 1]

        monkeypatch.setattr(shares.ray, "cluster_resources", lambda: {"CPU": 8, "GPU": 2})
        monkeypatch.setattr(shares, "probe_gpu_memory", probe)
        gpus, members = given or (None, None)
        return trial_resources(1, gpus, members, MEMBERS, tell=said.append), tried, said  # type: ignore[arg-type]

    return ask


def test_gpu_trials_take_as_many_members_as_the_probe_has_seen_work(probed: Probed) -> None:
    """Out of memory halves the members, and is the only thing that does."""
    full, fits = Measurement(Outcome.OUT_OF_MEMORY), Measurement(Outcome.MEASURED, 3e9, 16e9)
    none_free, no_cuda = Measurement(Outcome.NO_FREE_GPU), Measurement(Outcome.NO_CUDA)
    assert probed([fits]) == (TrialResources(1, 1 / 4, 4), [4], [])
    assert probed([fits], None, 2) == (TrialResources(1, 1 / 4, 2), [2], [])
    assert probed([full, full, fits]) == (TrialResources(1, 1 / 4, 1), [4, 2, 1], [])
    assert probed([full, full, full]) == (TrialResources(1, 1 / 6, 1), [4, 2, 1], [])
    assert probed([full], None, 2)[:2] == (TrialResources(1, 1 / 6, 2), [2])
    assert probed([full, none_free])[:2] == (TrialResources(1, 1 / 6, 2), [4, 2])
    assert probed([no_cuda]) == (TrialResources(1, 1 / 6, 1), [4], [])  # members gain nothing from each other
    assert probed([], 0.5, None) == (TrialResources(1, 0.5, 4), [], [])
    assert probed([], 0.0, None) == (TrialResources(1, 0.0, 1), [], [])


def test_a_share_that_is_not_measured_is_told_with_advice(probed: Probed) -> None:
    _, _, (line,) = probed([Measurement(Outcome.NO_FREE_GPU)])
    assert "(no GPU was free): a trial of 4 members takes 0.167 GPU by default; free a GPU, or set" in line
    _, _, (line,) = probed([Measurement(Outcome.FAILED, reason="ValueError: no such kernel")])
    assert "(failed: ValueError: no such kernel): " in line
    assert line.endswith("takes 0.167 GPU by default; set --gpus-per-trial")
