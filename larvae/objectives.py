"""The LaRVAE objective (Eq. 7) as a pure function of networks, batch, noise and weights.

Nothing here knows of devices, steps or logs, and every weight is a tensor, so that the same text
serves one member, a compiled step, or many members at once.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from larvae.distributions import (
    Gaussian,
    bernoulli_negative_log_likelihood,
    kl_to_standard_normal,
    total_correlation,
)


class Batch(NamedTuple):
    """What one iteration sees (Table 1): a batch of all data and one of the labelled set."""

    images: Tensor
    """(B, C, 64, 64)"""
    labelled_images: Tensor
    """(B, C, 64, 64)"""
    labels: Tensor
    """Standardised labels of the labelled images, (B, |y|)."""


class Noise(NamedTuple):
    """Standard normal noise of the reparametrised samples."""

    latents: Tensor
    """(B, |y| + |z|), for the batch of all data."""
    labelled_nuisance: Tensor
    """(B, |z|), for the labelled batch."""


class Weights(NamedTuple):
    """Coefficients of the terms, 0-d tensors."""

    gamma_tc: Tensor
    alpha: Tensor
    tau: Tensor


class Autoencoder(Protocol):
    """What the objective asks of a model."""

    def encode(self, images: Tensor) -> Gaussian: ...

    def decode(self, latents: Tensor) -> Tensor: ...


def larvae_objective(
    model: Autoencoder,
    batch: Batch,
    noise: Noise,
    weights: Weights,
    *,
    regulariser: str,
    dataset_size: int,
    replaces_labels: bool,
) -> dict[str, Tensor]:
    """All terms of Eq. 7 and their weighted sum `loss`, each 0-d, in nats.

    L = E[−log p(x|ỹ,z̃)] + KL + γ_tc·R_u + α·Σ(μ_y − y)² + τ·(E[−log p(x|y,z̃)] + KL(z)); Eq. 9 prints
    the last KL with a minus, which its derivation (B.19) contradicts.

    replaces_labels: False leaves out the last term and its cost; right when τ = 0, the baseline.
    """
    batch_size, num_factors = batch.labels.shape
    posteriors = model.encode(torch.cat([batch.images, batch.labelled_images]))
    posterior = posteriors.images(0, batch_size)
    labelled_posterior = posteriors.images(batch_size, 2 * batch_size)

    samples = posterior.sample(noise.latents)
    kl = kl_to_standard_normal(posterior)
    terms = {
        "reconstruction": bernoulli_negative_log_likelihood(model.decode(samples), batch.images),
        "kl": kl,
        "label_loss": label_loss(labelled_posterior.mean[:, :num_factors], batch.labels),
    }
    loss = terms["reconstruction"] + kl + weights.alpha * terms["label_loss"]
    if regulariser == "beta_tcvae":
        terms["total_correlation"] = total_correlation(posterior, samples, dataset_size)
        loss = loss + weights.gamma_tc * terms["total_correlation"]
    else:
        loss = loss + weights.gamma_tc * kl
    if replaces_labels:
        nuisance = labelled_posterior.latents(num_factors, labelled_posterior.mean.shape[1])
        terms |= label_replacement_terms(model, batch, nuisance, noise.labelled_nuisance)
        loss = loss + weights.tau * terms["label_replacement_loss"]
    return terms | {"loss": loss}


def label_loss(means: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of posterior means to labels, both (B, |y|), averaged over the batch (Eq. 8)."""
    return (means - labels).square().sum(1).mean()


def label_replacement_terms(model: Autoencoder, batch: Batch, nuisance: Gaussian, noise: Tensor) -> dict[str, Tensor]:
    """L_rep of Eq. 9 with its two parts: the *true* label decoded with a sampled nuisance."""
    logits = model.decode(torch.cat([batch.labels, nuisance.sample(noise)], dim=1))
    reconstruction = bernoulli_negative_log_likelihood(logits, batch.labelled_images)
    kl = kl_to_standard_normal(nuisance)
    return {
        "replacement_reconstruction": reconstruction,
        "replacement_kl": kl,
        "label_replacement_loss": reconstruction + kl,
    }
