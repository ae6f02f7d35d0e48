"""AnnealedVAE (Burgess et al., 2018, Eq. 8), as disentanglement_lib computes it: the KL is led to a capacity."""

from __future__ import annotations

from collections.abc import Mapping

from larvae.objectives import Encoded, Penalty


def penalty(encoded: Encoded) -> Penalty:
    """|KL − C|, in place of the KL, with the capacity C of the iteration."""
    capacity = encoded.settings["capacity"]
    value = (encoded.kl - capacity).abs()
    return Penalty(value, {"capacity": capacity, "capacity_gap": value})


def anneal(settings: Mapping[str, float], iteration: int) -> dict[str, float]:
    """The capacity of an iteration, the first being 0: it rises linearly from 0 and stays."""
    return {"capacity": settings["capacity"] * min(1.0, iteration / settings["capacity_iterations"])}
