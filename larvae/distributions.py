"""Gaussian posteriors: KL to the prior, samples, and the total correlation of the aggregate. Pixels' likelihoods.

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


class Likelihood(NamedTuple):
    """The likelihood of pixels, given the decoder's output: p(x | output)."""

    kind: str
    """gaussian or bernoulli."""
    pixel_mean: str
    """linear: the output is the mean; sigmoid: it is the mean's logit, as it always is for bernoulli."""

    def mean(self, output: Tensor) -> Tensor:
        """Expected pixels."""
        return output if self.pixel_mean == "linear" else torch.sigmoid(output)


def kl_to_standard_normal(posterior: Gaussian) -> Tensor:
    """KL(q ‖ N(0, I)) in nats, averaged over the batch; 0-d."""
    return kl_of_images(posterior).mean()


def kl_of_images(posterior: Gaussian) -> Tensor:
    """KL(q ‖ N(0, I)) of each image, in nats, (B,)."""
    mean, log_variance = posterior
    dimension_wise_kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return dimension_wise_kl.sum(1)


def total_correlation(posterior: Gaussian, samples: Tensor, dataset_size: int, estimator: str) -> Tensor:
    """TC of the aggregate posterior, E[log q(ξ) − Σ_d log q(ξ_d)], estimated within the batch, in nats; 0-d.

    Either density is logsumexp_j (log q(ξ_i | x_j) + log w_ij) with the weights w that the estimator gives
    to the images of the batch (Chen et al., 2018, Appendix C):
    minibatch_weighted: 1/(N·B) each (Eq. S5). Constant, so the weights leave the gradient alone and shift
    the value by (D − 1)·log(N·B).
    minibatch_stratified: see `stratified_weights` (Eq. S7).

    samples: one sample of each posterior, (B, D). dataset_size: N.
    """
    log_density = _log_normal(samples[:, None, :], posterior)  # [i, j, dimension]
    if estimator == "minibatch_stratified":
        log_weights = stratified_weights(len(samples), dataset_size, samples).log()  # [i, j]
        joint = (log_density.sum(2) + log_weights).logsumexp(1)  # [i]
        marginals = (log_density + log_weights[:, :, None]).logsumexp(1).sum(1)  # [i]
    else:
        log_size = math.log(dataset_size * len(samples))
        joint = log_density.sum(2).logsumexp(1) - log_size  # [i]
        marginals = (log_density.logsumexp(1) - log_size).sum(1)  # [i]
    return (joint - marginals).mean()


def stratified_weights(batch_size: int, dataset_size: int, like: Tensor) -> Tensor:
    """Weight w_ij of image j in the density at sample i, (B, B) in the kind of `like`; each row sums to 1.

    1/N for the image that the sample comes from, (N − M)/(N·M) for one other, 1/M for the rest, M = B − 1.
    The authors' code puts the 1/N into the first column, so that it is another image's, and in its last row but one
    (N − M)/(N·M) in its place: that row does not sum to 1.
    """
    others = batch_size - 1
    identity = torch.eye(batch_size, dtype=like.dtype, device=like.device)
    following = identity.roll(1, dims=1)  # for each image, the next of the batch
    rest = 1 - identity - following
    one_other = (dataset_size - others) / (dataset_size * others)
    return identity / dataset_size + following * one_other + rest / others


def density_ratio(logits: Tensor) -> Tensor:
    """E[log q(ξ) − Σ_d log q(ξ_d)] as a discriminator sees it (Kim & Mnih, 2018, Eq. 3), in nats; 0-d.

    logits: of joint samples, (B, 2): the first for the joint, the second for the product of marginals.
    """
    return (logits[:, 0] - logits[:, 1]).mean()


def discriminator_loss(joint_logits: Tensor, permuted_logits: Tensor) -> Tensor:
    """Cross entropy of telling samples of the joint from samples permuted in each dimension, in nats; 0-d.

    logits: (B, 2) each, as in `density_ratio`. log 2 is chance.
    """
    joint = F.log_softmax(joint_logits, dim=1)[:, 0]
    permuted = F.log_softmax(permuted_logits, dim=1)[:, 1]
    return -0.5 * (joint.mean() + permuted.mean())


def negative_log_likelihood(output: Tensor, images: Tensor, likelihood: Likelihood, variance: Tensor) -> Tensor:
    """−log p(x | output) in nats, summed over pixels and averaged over the batch; 0-d.

    bernoulli: pixels between 0 and 1 count as probabilities.
    gaussian: squared error / 2σ² + ½·log 2πσ² a pixel; at σ² = ½ the squared error and a constant.

    output: of the decoder, (B, C, 64, 64). images: as many, in [0, 1]. variance: σ², 0-d; no matter to bernoulli.
    """
    if likelihood.kind == "bernoulli":
        return F.binary_cross_entropy_with_logits(output, images, reduction="sum") / len(images)
    squared_error = (likelihood.mean(output) - images).square().sum() / len(images)
    return squared_error / (2 * variance) + 0.5 * torch.log(2 * math.pi * variance) * images[0].numel()


def _log_normal(values: Tensor, gaussian: Gaussian) -> Tensor:
    """Log density of each value under each Gaussian, by broadcasting."""
    mean, log_variance = gaussian
    return -0.5 * ((values - mean).square() * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi))
