"""β-TCVAE (Chen et al., 2018): the total correlation, estimated within the batch."""

from __future__ import annotations

from larvae.distributions import total_correlation
from larvae.objectives import Encoded, Penalty


def penalty(encoded: Encoded) -> Penalty:
    """The total correlation by the estimator that the member has chosen."""
    terms = encoded.terms
    value = total_correlation(encoded.posterior, encoded.samples, terms.dataset_size, terms.density_estimator)
    return Penalty(value, {"total_correlation": value})
