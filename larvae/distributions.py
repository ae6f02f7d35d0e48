"""Gaussian posteriors: KL to the prior, samples, and the total correlation of the aggregate.

Shapes: B images, D latents. Sums run over latents and pixels, means over the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Gaussian(NamedTuple):
    """A diagonal Gaussian for each image."""

    mean: Tensor
    """(B, D)"""
    log_variance: Tensor
    """(B, D)"""

    def sample(self, noise: Tensor) -> Tensor:
        """Reparametrised samples (B, D) from standard normal noise (B, D)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def latents(self, start: int, stop: int) -> Gaussian:
        """The marginal of latents start to stop."""
        return Gaussian(self.mean[:, start:stop], self.log_variance[:, start:stop])

    def images(self, start: int, stop: int) -> Gaussian:
        """The posteriors of images start to stop."""
        return Gaussian(self.mean[start:stop], self.log_variance[start:stop])


def kl_to_standard_normal(posterior: Gaussian) -> Tensor:
    """KL(q ‖ N(0, I)) in nats, averaged over the batch; 0-d."""
    mean, log_variance = posterior
    dimension_wise_kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return dimension_wise_kl.sum(1).mean()


def total_correlation(posterior: Gaussian, samples: Tensor, dataset_size: int) -> Tensor:
    """TC of the aggregate posterior by minibatch-weighted sampling, in nats; 0-d.

    log q(ξ_i) ≈ logsumexp_j log q(ξ_i | x_j) − log(N·B) (Chen et al., 2018, Eq. S5), likewise for each
    dimension. The constants leave the gradient alone and shift the value by (D − 1)·log(N·B).

    samples: one sample of each posterior, (B, D).
    """
    log_density = _log_normal(samples[:, None, :], posterior)  # [i, j, dimension]
    log_size = math.log(dataset_size * len(samples))
    joint = log_density.sum(2).logsumexp(1) - log_size  # [i]
    marginals = (log_density.logsumexp(1) - log_size).sum(1)  # [i]
    return (joint - marginals).mean()


def bernoulli_negative_log_likelihood(logits: Tensor, images: Tensor) -> Tensor:
    """−log p(x | logits) in nats, summed over pixels and averaged over the batch; 0-d."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def _log_normal(values: Tensor, gaussian: Gaussian) -> Tensor:
    """Log density of each value under each Gaussian, by broadcasting."""
    mean, log_variance = gaussian
    return -0.5 * ((values - mean).square() * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi))
