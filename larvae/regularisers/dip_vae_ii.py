"""DIP-VAE-II (Kumar et al., 2018, Eq. 7), as disentanglement_lib computes it: the aggregate posterior's covariance."""

from __future__ import annotations

from larvae.objectives import Encoded, Penalty
from larvae.regularisers.dip_vae_i import covariance, deviation_from_identity


def penalty(encoded: Encoded) -> Penalty:
    """The deviation of the aggregate posterior's covariance from the identity; γ_tc is λ_od.

    By the law of total variance it is the mean posterior variance and the posterior means' covariance.
    """
    mean, log_variance = encoded.posterior
    aggregate = log_variance.exp().mean(0).diag_embed() + covariance(mean)
    value = deviation_from_identity(aggregate, encoded.settings["diagonal_weight"])
    return Penalty(value, {"covariance_deviation": value})
