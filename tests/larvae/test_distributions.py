"""KL, total correlation and likelihood against Monte Carlo, exact cases and torch.distributions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor

from larvae.distributions import (
    Gaussian,
    Likelihood,
    density_ratio,
    discriminator_loss,
    kl_to_standard_normal,
    negative_log_likelihood,
    stratified_weights,
    total_correlation,
)

WEIGHTED, STRATIFIED = "minibatch_weighted", "minibatch_stratified"
each_estimator = pytest.mark.parametrize("estimator", [WEIGHTED, STRATIFIED])
BERNOULLI = Likelihood("bernoulli", "sigmoid")
LINEAR, SIGMOID = Likelihood("gaussian", "linear"), Likelihood("gaussian", "sigmoid")
each_likelihood = pytest.mark.parametrize("likelihood", [BERNOULLI, LINEAR, SIGMOID], ids="-".join)
HALF = torch.tensor(0.5, dtype=torch.float64)


def random_posterior(batch_size: int, num_latents: int, seed: int = 0) -> Gaussian:
    rng = np.random.default_rng(seed)
    mean = torch.from_numpy(rng.standard_normal((batch_size, num_latents)))
    return Gaussian(mean, torch.from_numpy(rng.uniform(-2, 1, (batch_size, num_latents))))


def standard_normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


# Posteriors


def test_samples_are_reparametrised() -> None:
    mean, log_variance = torch.full((1, 1), 0.5, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    sample = Gaussian(mean, log_variance).sample(torch.tensor([[3.0]]))
    sample.sum().backward()
    assert (float(sample.detach()), float(mean.grad), float(log_variance.grad)) == (3.5, 1, 1.5)  # d/dl of 3·exp(l/2)
    assert torch.equal(random_posterior(5, 3).sample(torch.zeros(5, 3)), random_posterior(5, 3).mean)


# KL


def test_kl_is_that_of_torch_distributions() -> None:
    for seed, num_latents in enumerate((0, 1, 2, 7)):
        posterior = random_posterior(6, num_latents, seed)
        q = torch.distributions.Normal(posterior.mean, torch.exp(posterior.log_variance / 2))
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        assert float(kl_to_standard_normal(posterior)) == pytest.approx(float(kl), rel=1e-12)


# Total correlation


def correlated_posterior() -> Gaussian:
    """150 Gaussians in two dimensions whose means are correlated."""
    rng = np.random.default_rng(2)
    means = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 150)
    return Gaussian(torch.from_numpy(means), torch.from_numpy(rng.uniform(-4, -1, (150, 2))))


def log_ratio(values: NDArray[np.float64], posterior: Gaussian) -> NDArray[np.float64]:
    """log q(ξ) − Σ_d log q(ξ_d) of the mixture of all posteriors, at values (n, D)."""
    deviations = np.exp(posterior.log_variance.numpy() / 2)
    densities = norm.logpdf(values[:, None], posterior.mean.numpy(), deviations)  # [i, j, dimension]
    log_size = math.log(len(posterior.mean))
    joint = logsumexp(densities.sum(2), axis=1) - log_size
    return joint - (logsumexp(densities, axis=1) - log_size).sum(1)


def without_constants(value: Tensor, num_latents: int, dataset_size: int, estimator: str = WEIGHTED) -> float:
    """The estimate from weights that sum to 1, as 1/(N·B) do not; exact when the batch is all data and these 1/B."""
    shift = (num_latents - 1) * math.log(dataset_size) if estimator == WEIGHTED else 0
    return float(value) - shift


@each_estimator
def test_total_correlation_over_all_data_agrees_with_monte_carlo(estimator: str) -> None:
    posterior = correlated_posterior()
    size, count = len(posterior.mean), 6000
    samples = (posterior.sample(standard_normal(size, 2, seed=seed)) for seed in range(50))
    values = (total_correlation(posterior, sample, size, estimator) for sample in samples)
    estimates = [without_constants(value, 2, size, estimator) for value in values]
    rng = np.random.default_rng(3)
    chosen = rng.integers(size, size=count)
    deviations = np.exp(posterior.log_variance.numpy() / 2)
    points = posterior.mean.numpy()[chosen] + deviations[chosen] * rng.standard_normal((count, 2))
    expected = log_ratio(points, posterior)
    standard_error = math.hypot(np.std(estimates, ddof=1) / math.sqrt(50), expected.std() / math.sqrt(count))
    assert standard_error < 0.02 < expected.mean()
    assert np.mean(estimates) == pytest.approx(expected.mean(), abs=4 * standard_error)


def test_total_correlation_of_independent_latents_is_zero() -> None:
    """Means on a product grid and equal variances: the mixture is the product of its marginals."""
    axis = torch.linspace(-2, 2, 12, dtype=torch.float64)
    mean = torch.cartesian_prod(axis, axis, axis[:5])
    posterior = Gaussian(mean, torch.tensor([-1.0, 0.0, -3.0], dtype=torch.float64).expand_as(mean))
    samples = posterior.sample(standard_normal(*mean.shape))
    value = total_correlation(posterior, samples, len(mean), WEIGHTED)
    assert without_constants(value, 3, len(mean)) == pytest.approx(0, abs=1e-10)


@each_estimator
def test_total_correlation_is_finite_at_extreme_log_variances(estimator: str) -> None:
    """Densities of e^200 or e^-200 exist in single precision only as logarithms."""
    for log_variance in (-40.0, 40.0):
        mean = standard_normal(8, 10).float()
        posterior = Gaussian(mean.requires_grad_(), torch.full((8, 10), log_variance, requires_grad=True))
        samples = posterior.sample(standard_normal(8, 10, seed=2).float())
        value = total_correlation(posterior, samples, 737_280, estimator)
        value.backward()
        for tensor in (value, posterior.mean.grad, posterior.log_variance.grad):
            assert torch.isfinite(tensor).all()


# Stratified weights


@pytest.mark.parametrize("num_latents", [1, 2, 10])
def test_total_correlation_by_definition(num_latents: int) -> None:
    """Both densities as weighted sums, written out; neither the order of latents nor the data set's size else matters.

    The size shifts a weighted estimate by (D − 1)·log N and leaves its gradient alone.
    """
    for batch_size, dataset_size in ((2, 2), (5, 5), (5, 100), (8, 737_280)):
        posterior = random_posterior(batch_size, num_latents)
        samples = posterior.sample(standard_normal(batch_size, num_latents))
        means, deviations = posterior.mean.numpy(), np.exp(posterior.log_variance.numpy() / 2)
        densities = norm.pdf(samples.numpy()[:, None], means, deviations)  # [i, j, dimension]
        constant = np.full((batch_size, batch_size), 1 / (dataset_size * batch_size))
        for estimator, weights in ((STRATIFIED, weights_of(batch_size, dataset_size)), (WEIGHTED, constant)):
            joint = np.log((weights * densities.prod(2)).sum(1))
            marginals = np.log((weights[:, :, None] * densities).sum(1)).sum(1)
            value = total_correlation(posterior, samples, dataset_size, estimator)
            assert float(value) == pytest.approx((joint - marginals).mean(), rel=1e-9, abs=1e-9)


def weights_of(batch_size: int, dataset_size: int) -> NDArray[np.float64]:
    return stratified_weights(batch_size, dataset_size, torch.zeros((), dtype=torch.float64)).numpy()


def test_stratified_density_is_right_on_average_over_all_batches() -> None:
    """Over all batches in which the sample's own image has a place, the mean is q(ξ) = (1/N) Σ_n q(ξ | x_n) itself.

    So it is for the joint and for each marginal, and for N = B as well, where a single batch is not exact. Rows sum
    to 1, as not all of the published code's do: it has 1/N in the first column instead of on the diagonal.
    """
    for (batch_size, dataset_size), position in itertools.product([(2, 2), (2, 6), (3, 6), (4, 4), (5, 6)], (0, 1)):
        densities = np.random.default_rng(0).uniform(0, 1, (dataset_size, 3))  # q(ξ_0 | x_n), of three kinds
        weights = weights_of(batch_size, dataset_size)
        assert (weights > 0).all()
        assert weights.sum(1) == pytest.approx(1, abs=1e-12)
        estimates = []
        for others in itertools.permutations(range(1, dataset_size), batch_size - 1):
            batch = [*others[:position], 0, *others[position:]]
            estimates.append(weights[position] @ densities[batch])
        assert np.mean(estimates, axis=0) == pytest.approx(densities.mean(0), rel=1e-12)
    assert stratified_weights(3, 10, torch.zeros(1)).dtype == torch.float32


# Total correlation by density ratio

CORRELATION = 0.8
ANALYTIC = -0.5 * math.log(1 - CORRELATION**2)
"""Total correlation of a Gaussian with two latents of this correlation, in nats."""


def correlated_samples(size: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    covariance = [[1, CORRELATION], [CORRELATION, 1]]
    return torch.from_numpy(rng.multivariate_normal([0, 0], covariance, size))


def optimal_logits(samples: Tensor) -> Tensor:
    """Logits of a discriminator that knows both densities, but for a constant of each sample that cancels."""
    covariance = torch.tensor([[1, CORRELATION], [CORRELATION, 1]], dtype=samples.dtype)
    joint = torch.distributions.MultivariateNormal(samples.new_zeros(2), covariance).log_prob(samples)
    marginals = torch.distributions.Normal(0.0, 1.0).log_prob(samples).sum(1)
    return torch.stack([joint + samples[:, 0], marginals + samples[:, 0]], dim=1)


def test_density_ratio_of_the_optimal_discriminator_is_the_total_correlation() -> None:
    logits = optimal_logits(correlated_samples(100_000))
    standard_error = float((logits[:, 0] - logits[:, 1]).std()) / math.sqrt(100_000)
    assert float(density_ratio(logits)) == pytest.approx(ANALYTIC, abs=4 * standard_error)
    assert standard_error < 0.01 < ANALYTIC


def test_discriminator_loss_is_the_mean_cross_entropy() -> None:
    joint, permuted = standard_normal(5, 2), standard_normal(5, 2, seed=2)
    kinds = torch.tensor([0] * 5 + [1] * 5)
    expected = F.cross_entropy(torch.cat([joint, permuted]), kinds)
    assert float(discriminator_loss(joint, permuted)) == pytest.approx(float(expected), rel=1e-12)
    sure = torch.tensor([[1e4, -1e4]])
    assert float(discriminator_loss(sure, -sure)) == 0
    assert float(discriminator_loss(-sure, sure)) == 2e4


# Likelihood


@each_likelihood
def test_negative_log_likelihood_is_that_of_torch_distributions(likelihood: Likelihood) -> None:
    rng = np.random.default_rng(4)
    for channels, variance in itertools.product((1, 3), (0.5, 0.01, 3.0)):
        output = torch.from_numpy(3 * rng.standard_normal((5, channels, 8, 8)))
        images = torch.from_numpy(rng.integers(0, 2, (5, channels, 8, 8)).astype(np.float64))
        mean = output if likelihood == LINEAR else torch.sigmoid(output)
        gaussian = torch.distributions.Normal(mean, math.sqrt(variance))
        density = torch.distributions.Bernoulli(logits=output) if likelihood == BERNOULLI else gaussian
        value = negative_log_likelihood(output, images, likelihood, torch.tensor(variance, dtype=torch.float64))
        expected = -density.log_prob(images).sum((1, 2, 3)).mean()
        assert float(value) == pytest.approx(float(expected), rel=1e-12)
        assert torch.equal(likelihood.mean(output), mean)


def test_negative_log_likelihood_is_finite_at_extreme_logits() -> None:
    images = torch.tensor([[0.0, 1.0]])
    right, wrong = torch.tensor([[-1e4, 1e4]]), torch.tensor([[1e4, -1e4]])
    assert float(negative_log_likelihood(right, images, BERNOULLI, HALF)) == 0
    assert float(negative_log_likelihood(wrong, images, BERNOULLI, HALF)) == 2e4
    constant = 0.5 * math.log(math.pi) * 2
    assert float(negative_log_likelihood(right, images, SIGMOID, HALF)) == pytest.approx(constant)
    assert float(negative_log_likelihood(wrong, images, SIGMOID, HALF)) == pytest.approx(constant + 2)
