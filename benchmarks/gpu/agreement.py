"""Compares a way's gradients and first losses with those that float32 on the CPU has of the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from gpu.ways import Gradients, Way

HALF = 10
"""Iterations of each of two means of the loss: a group captures its step within the second one."""


class Observed(NamedTuple):
    """The first iterations of some members."""

    gradients: list[Gradients]
    losses: list[tuple[float, float]]
    """Mean losses of the first half of them, and of the second."""


class Deviation(NamedTuple):
    """The largest deviation of a member from what was expected of it."""

    gradient: float
    """Norm of the difference of its gradients, by their norm."""
    loss: float
    """Difference of a mean loss, by that loss."""

    def fault(self, tolerance: Deviation) -> str:
        """The figures that are too large, or no numbers, in words; empty if none is."""
        names = {"gradients": (self.gradient, tolerance.gradient), "losses": (self.loss, tolerance.loss)}
        faults = [f"{name} by {found:.2g}, more than {most:g}" for name, (found, most) in names.items() if found > most]
        faults += [f"{name} by what is no number" for name, (found, _) in names.items() if found != found]
        return f"deviates from float32 on the CPU: {', '.join(faults)}" if faults else ""


TOLERANCES = {
    torch.float32: Deviation(gradient=0.02, loss=1e-3),
    torch.bfloat16: Deviation(gradient=0.1, loss=1e-2),
}
"""Most that a way may deviate, by its precision. Peers' float32 convolutions are TF32 on a GPU, some 1e-3;
bfloat16 gradients have deviated by .013 with 64 images and .057 with 4, on a CPU; a wrong sign or a lost term by more
than .1."""


def observe(way: Way, half: int = HALF) -> Observed:
    """Take a way's first iterations, twice `half`."""
    way.step()
    gradients = way.gradients()
    for _ in range(half - 1):
        way.step()
    first = way.take_losses()
    for _ in range(half):
        way.step()
    return Observed(gradients, list(zip(first, way.take_losses(), strict=True)))


def deviation(found: Observed, expected: Observed, slots: Sequence[int]) -> Deviation:
    """The deviation of the members that `expected` has, which are in these slots of `found`."""
    gradients, losses = [], []
    for slot, theirs, means in zip(slots, expected.gradients, expected.losses, strict=True):
        apart = _norm({name: found.gradients[slot][name] - gradient for name, gradient in theirs.items()})
        gradients.append(apart / _norm(theirs))
        losses += [abs(ours - mean) / abs(mean) for ours, mean in zip(found.losses[slot], means, strict=True)]
    return Deviation(_largest(gradients), _largest(losses))


def _norm(gradients: Gradients) -> float:
    return sum(float(gradient.double().square().sum()) for gradient in gradients.values()) ** 0.5


def _largest(values: list[float]) -> float:
    """The maximum; not a number if one of them is none."""
    return float(torch.tensor(values, dtype=torch.float64).max())
