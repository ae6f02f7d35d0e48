"""Trials on clusters whose GPUs differ: each takes the share that is right where it runs."""

from __future__ import annotations

import random

from larvae.config import MemberConfig
from sweeps.driver.evaluating import Evaluations
from sweeps.driver.queueing import MemberQueue
from sweeps.preflight.gathering import Node, gpu_nodes
from sweeps.resources.gpu_kinds import GpuKind
from sweeps.resources.gpu_kinds import gpu_kinds as kinds_of
from sweeps.resources.places import BINDING, Place, Places, fits, request
from tests.sweeps.preflight.invented import RTX_2080, V100_16, V100_32, gpu_node, node

DECLARED = [
    node("head"),
    gpu_node("a", V100_16, 8, gpu_16GB=1000),
    gpu_node("b", V100_16, 4, gpu_16GB=1000),
    gpu_node("c", V100_32, 8, gpu_32GB=1000),
    gpu_node("d", RTX_2080, 2, gpu_8GB=1000),
]


def gpu_kinds(nodes: list[Node]) -> list[GpuKind]:
    """As a sweep finds them, from what a preflight was told."""
    return kinds_of(gpu_nodes(nodes))


def test_kinds_are_told_apart_by_resources() -> None:
    """Rays own names of accelerators among them; what nothing tells apart counts as the smallest."""
    assert [(k.resource, len(k.nodes)) for k in gpu_kinds(DECLARED)] == [
        ("gpu_32GB", 1),
        ("gpu_16GB", 2),
        ("gpu_8GB", 1),
    ]
    by_ray = [gpu_node("a", V100_16, 4, **{"accelerator_type:V100": 1}), gpu_node("b", RTX_2080, 2, other=1)]
    assert [(kind.resource, kind.name) for kind in gpu_kinds(by_ray)] == [
        ("accelerator_type:V100", V100_16.name),
        ("other", RTX_2080.name),
    ]
    (one,) = gpu_kinds([node("head"), gpu_node("a", V100_16, 8), gpu_node("b", V100_16, 4)])
    assert (one.resource, len(one.nodes)) == (None, 2)
    for silent in ({"accelerator_type:V100": 1.0}, {}):
        (kind,) = gpu_kinds([gpu_node("a", V100_16, 8, **silent), gpu_node("b", V100_32, 8, **silent)])
        assert (kind.memory, kind.resource) == (V100_16.memory, None)
    assert gpu_kinds([node("a"), node("b", facts=None, silence="no answer")]) == []


def test_places_are_never_overbooked_and_all_used() -> None:
    places = [Place("large", 1 / 12, 5), Place("small", 1 / 3, 2)]
    free, running, chance = Places(places), dict[str, str](), random.Random(0)
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
    without_kinds = Places([])
    assert [without_kinds.take(str(number)) for number in range(100)] == [{}] * 100  # Ray alone decides


def test_requests_bind_trials_to_their_place() -> None:
    place = {"place": {"resource": "gpu_16GB", "gpus": 0.125}}
    assert request(place, 1, 0.5).bundles == [{"CPU": 1, "GPU": 0.125, "gpu_16GB": BINDING}]
    assert request({}, 2, 0.5).bundles == [{"CPU": 2, "GPU": 0.5}]
    assert request({}, 2, 0).bundles == [{"CPU": 2}]
    assert fits({"CPU": 1, "gpu_16GB": BINDING}, {"CPU": 1, "gpu_16GB": 1000})
    assert not fits({"CPU": 1, "gpu_16GB": BINDING}, {"CPU": 8, "gpu_32GB": 1000})
    assert not fits({"CPU": 2}, {"CPU": 1})


def test_the_queue_hands_out_every_trial_once_in_order() -> None:
    trials = [[MemberConfig(seed=seed)] for seed in range(5)]
    queue = MemberQueue(trials, Places([Place("a", 0.5, 2)]), Evaluations())
    given = [queue.suggest("1"), queue.suggest("2")]
    assert queue.suggest("3") is None  # until a place is free
    queue.on_trial_complete("1", error=True)
    given.append(queue.suggest("4"))
    for number in range(5, 7):
        queue.on_trial_complete(str(number - 1), {})
        given.append(queue.suggest(str(number)))
    assert queue.suggest("9") is None  # the last may come back
    for name in ("2", "6"):
        queue.on_trial_complete(name, {})
    assert queue.suggest("9") == MemberQueue.FINISHED
    told = [suggestion for suggestion in given if isinstance(suggestion, dict)]
    assert [suggestion["members"][0]["seed"] for suggestion in told] == list(range(5))
    assert all(suggestion["place"] == {"resource": "a", "gpus": 0.5} for suggestion in told)
    without_kinds = MemberQueue([[MemberConfig()]], Places([]), Evaluations())
    assert without_kinds.suggest("1") == {"members": [MemberConfig().to_dict()]}
    assert without_kinds.suggest("2") is None  # it may have to be evaluated
    without_kinds.on_trial_complete("1", {})
    assert without_kinds.suggest("2") == MemberQueue.FINISHED
