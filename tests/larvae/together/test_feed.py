"""Draws of a group: made ahead or when asked for, shared or not, they are those of each member alone."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import torch

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.inputs import Sampler
from larvae.together.feed import Feed

BASE = MemberConfig(batch_size=4, label_rate=0.001)
CPU = torch.device("cpu")
KINDS = (
    {},
    {"tau": 0.0, "alpha": 0.0},
    {"regulariser": "factor_vae"},
    {"label_loss": "cross_entropy"},
    {"regulariser": "annealed_vae"},
    {"graphical_model": "conditional", "regulariser": "beta_vae", "tau": 0.0},
)
UNLIKE = ({}, {"label_rate": 0.002}, {"seed": 1}, {"label_seed": 5}, {"held_out": 0.5}, {"label_scaling": "unit"})


def samplers(kind: dict[str, object], dataset: Dataset) -> list[Sampler]:
    configs = [MemberConfig.from_dict({"batch_size": 4, "label_rate": 0.001, **kind, **change}) for change in UNLIKE]
    return [Sampler(config, dataset, dataset.images) for config in configs]


def assert_feeds(feed: Feed, some: list[Sampler], iterations: list[int]) -> None:
    """Three iterations."""
    for step in range(3):
        feed.advance()
        for member, (sampler, first) in enumerate(zip(some, iterations, strict=True)):
            alone = Sampler(sampler.config, sampler.dataset, sampler.dataset.images).draws(first + step)
            for name, expected in alone._asdict().items():
                ours = getattr(feed.draws, name)
                assert (ours is None) == (expected is None), name
                if expected is not None:
                    assert np.array_equal(ours[member].numpy(), expected), (name, member, step)


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_member_is_fed_what_it_draws_alone(dataset: Dataset, kind: dict[str, object], ahead: int) -> None:
    """Members that share some of their streams, from iterations of their own, and after a restart."""
    some = samplers(kind, dataset)
    feed = Feed(some, [0, 0, 0, 0, 7, 7], CPU, ahead)
    try:
        assert_feeds(feed, some, [0, 0, 0, 0, 7, 7])
        feed.restart(some[::-1], [5] * 6)
        assert_feeds(feed, some[::-1], [5] * 6)
    finally:
        feed.stop()


def test_what_members_have_in_common_is_made_once(dataset: Dataset) -> None:
    """All τ of a seed see the same images."""
    asked: list[int] = []

    def send(indices: np.ndarray) -> np.ndarray:
        asked.append(len(indices))
        return indices

    some = [
        Sampler(dataclasses.replace(BASE, tau=tau, seed=seed), dataset, send) for tau in (1, 2, 3) for seed in (0, 1)
    ]
    feed = Feed(some, [0] * 6, CPU, 0)
    asked.clear()
    feed.advance()
    assert asked == [4] * 4  # images, and labelled ones, of two seeds


def test_the_thread_ends_with_the_feed_and_tells_what_ended_it(dataset: Dataset) -> None:
    def running() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "inputs"}

    before = running()
    feed = Feed([Sampler(BASE, dataset, dataset.images)], [0], CPU, 2)
    assert running() == before  # a check of the first step draws from the same samplers
    feed.advance()
    assert len(running() - before) == 1
    feed.restart(feed.samplers, [3])
    assert running() == before
    feed.advance()
    feed.stop()
    assert running() == before

    broken = Sampler(BASE, dataset, dataset.images)
    feed = Feed([broken], [0], CPU, 1)
    feed.advance()
    feed.advance()  # its place is free by then: the next one is on its way, or there
    broken.draws = None
    steps = (feed.advance() for _ in range(3))
    with pytest.raises(TypeError, match="not callable"):
        list(steps)
    feed.stop()
