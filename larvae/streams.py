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


class Streams:
    """One generator that is placed wherever it is needed, a seventh of the cost of a new one; the numbers are the same.

    What it is to draw must be drawn before it is placed again, by one thread.
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=[0, 0])
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state

    def at(self, seed: int, stream: Stream, iteration: int) -> np.random.Generator:
        """The generator, where `generator` of the same arguments begins."""
        self._state["state"]["key"][:] = seed, stream
        self._state["state"]["counter"][:] = 0, 0, 0, iteration
        self._bits.state = self._state  # a copy of a fresh one's: nothing is left of what was drawn before
        return self._generator


def generator(seed: int, stream: Stream, iteration: int = 0) -> np.random.Generator:
    """The generator of one purpose at one iteration."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, iteration]))
