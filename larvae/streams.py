"""Random streams that are functions of (seed, purpose, iteration) and hold no state.

A counter-based generator (Philox) is placed at the iteration's own block of counters, so iteration
t draws the same numbers whether or not the run was interrupted before it, and whatever else trains
in the same process.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The purpose of a stream; streams of one seed are independent of each other."""

    LABELLED_SET = 0
    BATCH = 1
    LABELLED_BATCH = 2
    LATENT_NOISE = 3
    LABELLED_LATENT_NOISE = 4
    EVALUATION = 5
    INITIALISATION = 6
    SECOND_BATCH = 7
    SECOND_LATENT_NOISE = 8
    PERMUTATION = 9
    METRICS = 10
    TRAVERSAL = 11


def generator(seed: int, stream: Stream, iteration: int = 0) -> np.random.Generator:
    """The generator of one purpose at one iteration."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, iteration]))
