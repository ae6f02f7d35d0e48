"""β-VAE (Higgins et al., 2017): the KL once more."""

from __future__ import annotations

from larvae.objectives import Encoded, Penalty


def penalty(encoded: Encoded) -> Penalty:
    """KL(q(ξ | x) ‖ p(ξ)), which is told as `kl` already."""
    return Penalty(encoded.kl)
