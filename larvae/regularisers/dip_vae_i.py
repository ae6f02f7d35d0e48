"""DIP-VAE-I (Kumar et al., 2018, Eq. 6), as disentanglement_lib computes it: the covariance of posterior means."""

from __future__ import annotations

from torch import Tensor

from larvae.objectives import Encoded, Penalty


def penalty(encoded: Encoded) -> Penalty:
    """The deviation of the posterior means' covariance from the identity; γ_tc is λ_od."""
    value = deviation_from_identity(covariance(encoded.posterior.mean), encoded.settings["diagonal_weight"])
    return Penalty(value, {"covariance_deviation": value})


def covariance(means: Tensor) -> Tensor:
    """Covariance (D, D) of posterior means (B, D) over the batch, divided by B."""
    centred = means - means.mean(0)
    return centred.T @ centred / len(means)


def deviation_from_identity(covariance: Tensor, diagonal_weight: Tensor) -> Tensor:
    """Σ_{i≠j} C_ij² + w·Σ_i (C_ii − 1)² of a covariance C, (D, D), and a diagonal's weight w, λ_d/λ_od; 0-d."""
    diagonal = covariance.diagonal()
    off_diagonal = covariance - diagonal.diag_embed()
    return off_diagonal.square().sum() + diagonal_weight * (diagonal - 1).square().sum()
