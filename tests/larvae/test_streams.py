"""Random streams: reproducible, independent and without state."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from larvae.streams import Stream, generator

SEEDS = (0, 1, 2**63 - 1)
ITERATIONS = (0, 1, 2, 1_000_000)


def test_same_arguments_give_the_same_numbers() -> None:
    for seed, stream, iteration in itertools.product(SEEDS, Stream, ITERATIONS):
        first = generator(seed, stream, iteration).standard_normal(10)
        assert np.array_equal(generator(seed, stream, iteration).standard_normal(10), first)


def test_every_seed_purpose_and_iteration_has_numbers_of_its_own() -> None:
    draws = [
        tuple(generator(seed, stream, iteration).integers(2**63, size=3))
        for seed, stream, iteration in itertools.product(SEEDS, Stream, ITERATIONS)
    ]
    assert len(set(itertools.chain(*draws))) == 3 * len(draws)


@pytest.mark.parametrize(
    ("other_seed", "other_stream", "other_iteration"),
    [(0, Stream.LABELLED_BATCH, 0), (0, Stream.BATCH, 1), (1, Stream.BATCH, 0)],
    ids=["purpose", "iteration", "seed"],
)
def test_neighbouring_streams_are_uncorrelated(other_seed: int, other_stream: Stream, other_iteration: int) -> None:
    size = 100_000
    a = generator(0, Stream.BATCH, 0).standard_normal(size)
    b = generator(other_seed, other_stream, other_iteration).standard_normal(size)
    assert abs(np.mean(a * b)) < 4 / np.sqrt(size)


def test_a_long_draw_does_not_reach_into_the_next_iteration() -> None:
    long = generator(3, Stream.BATCH, 7).integers(2**63, size=200_000)
    following = generator(3, Stream.BATCH, 8).integers(2**63, size=100)
    assert not np.isin(following, long).any()


def test_drawing_leaves_other_generators_alone() -> None:
    expected = generator(0, Stream.BATCH, 5).standard_normal(10)
    ours = generator(0, Stream.BATCH, 5)
    first = ours.standard_normal(4)
    generator(0, Stream.BATCH, 5).standard_normal(1000)
    generator(0, Stream.LATENT_NOISE, 4).standard_normal(1000)
    assert np.array_equal(np.concatenate([first, ours.standard_normal(6)]), expected)


def test_purposes_keep_their_numbers() -> None:
    """A renumbered purpose would change what every stored member trained on."""
    assert [(stream.name, stream.value) for stream in Stream] == [
        ("LABELLED_SET", 0),
        ("BATCH", 1),
        ("LABELLED_BATCH", 2),
        ("LATENT_NOISE", 3),
        ("LABELLED_LATENT_NOISE", 4),
        ("EVALUATION", 5),
        ("INITIALISATION", 6),
        ("SECOND_BATCH", 7),
        ("SECOND_LATENT_NOISE", 8),
        ("PERMUTATION", 9),
        ("METRICS", 10),
        ("TRAVERSAL", 11),
    ]
