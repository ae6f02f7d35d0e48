"""Trials on clusters whose GPUs differ: each takes the share that is right where it runs."""

from __future__ import annotations

import random

import pytest

from larvae.config import MemberConfig
from sweeps.driver.queueing import MemberQueue
from sweeps.preflight.gathering import Node, gpu_nodes
from sweeps.resources import shares
from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.gpu_kinds import gpu_kinds as kinds_of
from sweeps.resources.places import BINDING, Place, Places, request
from sweeps.resources.probe import Measurement, Outcome
from sweeps.resources.shares import ASSUMED_TRIAL_BYTES, TrialResources, trial_places, trial_resources
from tests.sweeps.preflight.invented import RTX_2080, V100_16, V100_32, gpu_node, node

DECLARED = [
    node("head"),
    gpu_node("a", V100_16, 8, gpu_16GB=1000),
    gpu_node("b", V100_16, 4, gpu_16GB=1000),
    gpu_node("c", V100_32, 8, gpu_32GB=1000),
    gpu_node("d", RTX_2080, 2, gpu_8GB=1000),
]
LARGE = 1.9e9
"""What a trial takes that fills a 16 GB card seven times, with the margin."""


def gpu_kinds(nodes: list[Node]) -> list[GpuKind]:
    """As a sweep finds them, from what a preflight was told."""
    return kinds_of(gpu_nodes(nodes))


def test_kinds_are_told_apart_by_resources() -> None:
    kinds = gpu_kinds(DECLARED)
    assert [kind.resource for kind in kinds] == ["gpu_32GB", "gpu_16GB", "gpu_8GB"]
    assert [len(kind.nodes) for kind in kinds] == [1, 2, 1]


def test_rays_own_names_of_accelerators_tell_kinds_apart_too() -> None:
    nodes = [
        gpu_node("a", V100_16, 4, **{"accelerator_type:V100": 1}),
        gpu_node("b", RTX_2080, 2, **{"accelerator_type:G": 1}),
    ]
    assert [kind.resource for kind in gpu_kinds(nodes)] == ["accelerator_type:V100", "accelerator_type:G"]


def test_one_kind_needs_no_name() -> None:
    (kind,) = gpu_kinds([node("head"), gpu_node("a", V100_16, 8), gpu_node("b", V100_16, 4)])
    assert kind.resource is None
    assert len(kind.nodes) == 2


@pytest.mark.parametrize("silent", [{"accelerator_type:V100": 1.0}, {}])
def test_kinds_that_nothing_tells_apart_count_as_the_smallest(silent: dict[str, float]) -> None:
    (kind,) = gpu_kinds([gpu_node("a", V100_16, 8, **silent), gpu_node("b", V100_32, 8, **silent)])
    assert kind.memory == V100_16.memory
    assert kind.resource is None


def test_nodes_that_tell_nothing_have_no_kind() -> None:
    assert gpu_kinds([node("a"), node("b", facts=None, silence="no answer")]) == []


def test_mixed_cards_hold_what_fits_on_each() -> None:
    """The three cards of the paper's cluster, at the 2.5 GB of an unmeasured trial."""
    places = {place.resource: place for place in trial_places(1, None, gpu_kinds(DECLARED))}
    trials = {name: round(1 / place.gpus) for name, place in places.items()}
    assert trials == {"gpu_16GB": 6, "gpu_32GB": 13, "gpu_8GB": 3}
    assert places["gpu_16GB"].number == 6 * (8 + 4)
    assert places["gpu_32GB"].number == 64  # its CPUs
    assert places["gpu_8GB"].number == 6


@pytest.mark.parametrize("trial_bytes", [0.3e9, LARGE, 3e9, 5e9, 6.5e9, 12e9, 27e9])
def test_no_gpu_is_overcommitted_and_none_could_hold_another(trial_bytes: float) -> None:
    kinds = gpu_kinds(DECLARED)
    places = {place.resource: place for place in trial_places(1, trial_bytes, kinds)}
    assert places
    for kind in kinds:
        if kind.resource in places:
            trials = round(1 / places[kind.resource].gpus)
            assert trials * trial_bytes <= kind.memory < (trials + 1) * trial_bytes * 1.2
            assert places[kind.resource].number <= sum(node["GPU"] * trials for node in kind.nodes)
        else:  # too small for one
            assert kind.memory < trial_bytes * 1.2


def test_a_trial_that_is_too_large_everywhere_is_tried_everywhere() -> None:
    assert {place.gpus for place in trial_places(1, 50e9, gpu_kinds(DECLARED))} == {1.0}


def test_cpus_limit_places() -> None:
    places = {place.resource: place.number for place in trial_places(8, None, gpu_kinds(DECLARED))}
    assert places == {"gpu_16GB": 16, "gpu_32GB": 8, "gpu_8GB": 6}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (DECLARED, {"gpu_16GB", "gpu_32GB", "gpu_8GB"}),
        (DECLARED[:3], set()),
        ([gpu_node("a", V100_16, 8), gpu_node("b", V100_32, 8)], set()),
    ],
)
def test_resources_of_a_trial(nodes: list[Node], expected: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measurement(Outcome.MEASURED, LARGE, float(V100_32.memory))
    monkeypatch.setattr(shares, "probe_gpu_memory", lambda member, together, tell: measured)
    monkeypatch.setattr(shares.ray, "cluster_resources", lambda: {"CPU": 200.0, "GPU": 20.0})
    resources = trial_resources(1, None, None, [MemberConfig(batch_size=2)], gpu_kinds(nodes))
    assert {place.resource for place in resources.places} == expected
    smallest = min(kind.memory for kind in gpu_kinds(nodes))
    assert 1 / resources.gpus * LARGE * 1.2 <= smallest * 1.0001  # whichever card was probed
    assert resources.concurrency() >= 20


def test_a_given_share_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares.ray, "cluster_resources", lambda: {"CPU": 200.0, "GPU": 20.0})
    given = trial_resources(1, 0.5, None, [MemberConfig()], gpu_kinds(DECLARED))
    assert given == TrialResources(1, 0.5, 1)


def test_places_are_never_overbooked_and_all_used() -> None:
    places = [Place("large", 1 / 12, 5), Place("small", 1 / 3, 2)]
    free, running, chance = Places(places), {}, random.Random(0)
    most = 0
    for number in range(500):
        if running and chance.random() < 0.4:
            name = chance.choice(sorted(running))
            running.pop(name)
            free.give_back(name)
        taken = free.take(f"t{number}")
        if taken is None:
            assert len(running) == 7
        else:
            running[f"t{number}"] = taken["place"]["resource"]
        counts = {place.resource: list(running.values()).count(place.resource) for place in places}
        assert all(counts[place.resource] <= place.number for place in places)
        most = max(most, len(running))
    assert most == 7
    free.give_back("never taken")


def test_without_kinds_ray_alone_decides() -> None:
    free = Places([])
    assert [free.take(str(number)) for number in range(100)] == [{}] * 100


def test_requests_bind_trials_to_their_place() -> None:
    place = {"place": {"resource": "gpu_16GB", "gpus": 0.125}}
    assert request(place, 1, 0.5).bundles == [{"CPU": 1, "GPU": 0.125, "gpu_16GB": BINDING}]
    assert request({}, 2, 0.5).bundles == [{"CPU": 2, "GPU": 0.5}]
    assert request({}, 2, 0).bundles == [{"CPU": 2}]


def test_the_queue_hands_out_every_trial_once_in_order() -> None:
    trials = [[MemberConfig(seed=seed)] for seed in range(5)]
    queue = MemberQueue(trials, Places([Place("a", 0.5, 2)]))
    first, second = queue.suggest("1"), queue.suggest("2")
    assert queue.suggest("3") is None  # until a place is free
    queue.on_trial_complete("1", error=True)
    rest = [queue.suggest("4")]
    for number in range(5, 7):
        queue.on_trial_complete(str(number - 1), {})
        rest.append(queue.suggest(str(number)))
    assert queue.suggest("9") is None  # the last may come back
    for name in ("2", "6"):
        queue.on_trial_complete(name, {})
    assert queue.suggest("9") == MemberQueue.FINISHED
    given = [suggestion for suggestion in (first, second, *rest) if isinstance(suggestion, dict)]
    assert [suggestion["members"][0]["seed"] for suggestion in given] == list(range(5))
    assert all(suggestion["place"] == {"resource": "a", "gpus": 0.5} for suggestion in given)


def test_without_kinds_the_queue_has_ended_with_its_last_trial() -> None:
    queue = MemberQueue([[MemberConfig()]], Places([]))
    assert queue.suggest("1") == {"members": [MemberConfig().to_dict()]}
    assert queue.suggest("2") == MemberQueue.FINISHED


def test_assumed_trials_are_those_of_a_16_gb_card() -> None:
    assert int(16e9 // ASSUMED_TRIAL_BYTES) == 6
