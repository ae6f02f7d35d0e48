"""Random streams: reproducible, independent and without state."""

from __future__ import annotations

import itertools

import numpy as np

from larvae.streams import Stream, Streams, generator

SEEDS = (0, 1, 2**63 - 1)
ITERATIONS = (0, 1, 2, 1_000_000)


def test_every_seed_purpose_and_iteration_has_the_same_numbers_of_its_own() -> None:
    places = list(itertools.product(SEEDS, Stream, ITERATIONS))
    draws, again = ([tuple(generator(*place).integers(2**63, size=3)) for place in places] for _ in range(2))
    assert draws == again
    assert len(set(itertools.chain(*draws))) == 3 * len(draws)


def test_drawing_leaves_other_generators_alone() -> None:
    expected = generator(0, Stream.BATCH, 5).standard_normal(10)
    ours = generator(0, Stream.BATCH, 5)
    first = ours.standard_normal(4)
    generator(0, Stream.BATCH, 5).standard_normal(1000)
    generator(0, Stream.LATENT_NOISE, 4).standard_normal(1000)
    assert np.array_equal(np.concatenate([first, ours.standard_normal(6)]), expected)


def test_one_generator_placed_anew_draws_what_a_new_one_does() -> None:
    """Whatever was drawn before: half of a 64-bit number may be left of it."""
    placed = Streams()
    for place in itertools.product(SEEDS, (Stream.BATCH, Stream.METRICS), ITERATIONS):
        ours, expected = placed.at(*place), generator(*place)
        assert np.array_equal(ours.integers(1000, size=5), expected.integers(1000, size=5))
        assert np.array_equal(ours.standard_normal(7, np.float32), expected.standard_normal(7, np.float32))
        ours.integers(10, size=3, dtype=np.int32)


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
