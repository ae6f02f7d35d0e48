"""KL, total correlation and likelihood against Monte Carlo, exact cases and torch.distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor

from larvae.distributions import (
    Gaussian,
    bernoulli_negative_log_likelihood,
    kl_to_standard_normal,
    total_correlation,
)


def random_posterior(batch_size: int, num_latents: int, seed: int = 0) -> Gaussian:
    rng = np.random.default_rng(seed)
    mean = torch.from_numpy(rng.standard_normal((batch_size, num_latents)))
    return Gaussian(mean, torch.from_numpy(rng.uniform(-2, 1, (batch_size, num_latents))))


def standard_normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


# Posteriors


def test_samples_have_the_posterior_s_moments() -> None:
    size = 200_000
    posterior = Gaussian(torch.tensor([[1.5]]).expand(size, 1), torch.tensor([[math.log(4)]]).expand(size, 1))
    samples = posterior.sample(standard_normal(size, 1).float())
    assert float(samples.mean()) == pytest.approx(1.5, abs=4 * 2 / math.sqrt(size))
    assert float(samples.var()) == pytest.approx(4, abs=4 * 4 * math.sqrt(2 / size))


def test_sample_without_noise_is_the_mean() -> None:
    posterior = random_posterior(5, 3)
    assert torch.equal(posterior.sample(torch.zeros(5, 3)), posterior.mean)


def test_gradient_reaches_mean_and_log_variance_through_a_sample() -> None:
    mean, log_variance = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    Gaussian(mean, log_variance).sample(torch.tensor([[3.0]])).sum().backward()
    assert float(mean.grad) == 1
    assert float(log_variance.grad) == 1.5  # d/dl of 3·exp(l/2) at l = 0


def test_parts_of_a_posterior_are_its_marginals() -> None:
    posterior = random_posterior(6, 4)
    for part, expected in (
        (posterior.latents(1, 3), (slice(None), slice(1, 3))),
        (posterior.images(2, 6), (slice(2, 6), slice(None))),
    ):
        assert torch.equal(part.mean, posterior.mean[expected])
        assert torch.equal(part.log_variance, posterior.log_variance[expected])


# KL


def test_kl_is_zero_at_the_prior_and_nowhere_below() -> None:
    prior = Gaussian(torch.zeros(4, 3), torch.zeros(4, 3))
    assert float(kl_to_standard_normal(prior)) == 0
    assert all(float(kl_to_standard_normal(random_posterior(1, 2, seed))) > 0 for seed in range(50))


def test_kl_agrees_with_monte_carlo() -> None:
    posterior = random_posterior(6, 3)
    size = 200_000
    values = posterior.sample(standard_normal(size, 6, 3))
    q = torch.distributions.Normal(posterior.mean, torch.exp(posterior.log_variance / 2))
    prior = torch.distributions.Normal(0.0, 1.0)
    estimates = (q.log_prob(values) - prior.log_prob(values)).sum(2).mean(1)  # latents, then the batch
    standard_error = float(estimates.std()) / math.sqrt(size)
    assert float(kl_to_standard_normal(posterior)) == pytest.approx(float(estimates.mean()), abs=4 * standard_error)


def test_kl_sums_over_latents_and_averages_over_images() -> None:
    posterior = random_posterior(6, 4)
    by_latent = sum(kl_to_standard_normal(posterior.latents(d, d + 1)) for d in range(4))
    by_image = sum(kl_to_standard_normal(posterior.images(i, i + 1)) for i in range(6)) / 6
    expected = float(kl_to_standard_normal(posterior))
    assert float(by_latent) == pytest.approx(expected, rel=1e-12)
    assert float(by_image) == pytest.approx(expected, rel=1e-12)


def test_kl_over_no_latents_is_zero() -> None:
    assert float(kl_to_standard_normal(Gaussian(torch.zeros(4, 0), torch.zeros(4, 0)))) == 0


# Total correlation


def correlated_posterior() -> Gaussian:
    """400 Gaussians in two dimensions whose means are correlated."""
    rng = np.random.default_rng(2)
    means = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 400)
    return Gaussian(torch.from_numpy(means), torch.from_numpy(rng.uniform(-4, -1, (400, 2))))


def log_ratio(values: NDArray[np.float64], posterior: Gaussian) -> NDArray[np.float64]:
    """log q(ξ) − Σ_d log q(ξ_d) of the mixture of all posteriors, at values (n, D)."""
    deviations = np.exp(posterior.log_variance.numpy() / 2)
    densities = norm.logpdf(values[:, None], posterior.mean.numpy(), deviations)  # [i, j, dimension]
    log_size = math.log(len(posterior.mean))
    joint = logsumexp(densities.sum(2), axis=1) - log_size
    return joint - (logsumexp(densities, axis=1) - log_size).sum(1)


def without_constants(value: Tensor, num_latents: int, dataset_size: int) -> float:
    """The estimate with log q = logsumexp − log B, which is exact when the batch is all data."""
    return float(value) - (num_latents - 1) * math.log(dataset_size)


def test_total_correlation_over_all_data_agrees_with_monte_carlo() -> None:
    posterior = correlated_posterior()
    size = len(posterior.mean)
    estimates = [
        without_constants(
            total_correlation(posterior, posterior.sample(standard_normal(size, 2, seed=s)), size), 2, size
        )
        for s in range(100)
    ]
    rng = np.random.default_rng(3)
    chosen = rng.integers(size, size=20_000)
    deviations = np.exp(posterior.log_variance.numpy() / 2)
    values = posterior.mean.numpy()[chosen] + deviations[chosen] * rng.standard_normal((20_000, 2))
    expected = np.concatenate([log_ratio(chunk, posterior) for chunk in np.split(values, 10)])
    standard_error = math.hypot(np.std(estimates, ddof=1) / math.sqrt(100), expected.std() / math.sqrt(20_000))
    assert standard_error < 0.01 < expected.mean()
    assert np.mean(estimates) == pytest.approx(expected.mean(), abs=4 * standard_error)


def test_total_correlation_of_independent_latents_is_zero() -> None:
    """Means on a product grid and equal variances: the mixture is the product of its marginals."""
    axis = torch.linspace(-2, 2, 12, dtype=torch.float64)
    mean = torch.cartesian_prod(axis, axis, axis[:5])
    posterior = Gaussian(mean, torch.tensor([-1.0, 0.0, -3.0], dtype=torch.float64).expand_as(mean))
    samples = posterior.sample(standard_normal(*mean.shape))
    value = total_correlation(posterior, samples, dataset_size=len(mean))
    assert without_constants(value, 3, len(mean)) == pytest.approx(0, abs=1e-10)


def test_total_correlation_of_copied_latents_grows_with_their_precision() -> None:
    values = []
    for log_variance in (-1.0, -3.0, -5.0):
        mean = standard_normal(300, 1).expand(300, 2)
        posterior = Gaussian(mean, torch.full_like(mean, log_variance))
        value = total_correlation(posterior, posterior.sample(standard_normal(300, 2, seed=2)), 300)
        values.append(without_constants(value, 2, 300))
    assert 0 < values[0] < values[1] < values[2]


@pytest.mark.parametrize("num_latents", [1, 2, 10])
@pytest.mark.parametrize("factor", [2, 1000])
def test_dataset_size_shifts_total_correlation_by_d_minus_1_logs(num_latents: int, factor: int) -> None:
    posterior = random_posterior(8, num_latents)
    samples = posterior.sample(standard_normal(8, num_latents))
    shift = total_correlation(posterior, samples, 50 * factor) - total_correlation(posterior, samples, 50)
    assert float(shift) == pytest.approx((num_latents - 1) * math.log(factor), abs=1e-10)


def test_dataset_size_leaves_the_gradient_alone() -> None:
    gradients = []
    for dataset_size in (8, 737_280):
        posterior = Gaussian(*(part.requires_grad_() for part in random_posterior(8, 3)))
        total_correlation(posterior, posterior.sample(standard_normal(8, 3)), dataset_size).backward()
        gradients.append(torch.stack([posterior.mean.grad, posterior.log_variance.grad]))
    assert gradients[0].abs().min() > 0
    assert torch.allclose(*gradients, rtol=1e-12, atol=0)


def test_total_correlation_of_one_latent_is_zero() -> None:
    posterior = random_posterior(8, 1)
    assert float(total_correlation(posterior, posterior.sample(standard_normal(8, 1)), 100)) == 0


def test_total_correlation_does_not_depend_on_the_order_of_images_and_latents() -> None:
    posterior = random_posterior(8, 4)
    samples = posterior.sample(standard_normal(8, 4))
    images, latents = torch.randperm(8, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 3, 1])
    permuted = Gaussian(*(part[images][:, latents] for part in posterior))
    expected = float(total_correlation(posterior, samples, 100))
    assert float(total_correlation(permuted, samples[images][:, latents], 100)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("log_variance", [-40.0, 40.0])
def test_total_correlation_is_finite_at_extreme_log_variances(log_variance: float) -> None:
    """Densities of e^200 or e^-200 exist in single precision only as logarithms."""
    mean = standard_normal(8, 10).float()
    posterior = Gaussian(mean.requires_grad_(), torch.full((8, 10), log_variance, requires_grad=True))
    value = total_correlation(posterior, posterior.sample(standard_normal(8, 10, seed=2).float()), 737_280)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(posterior.mean.grad).all()
    assert torch.isfinite(posterior.log_variance.grad).all()


# Likelihood


def test_negative_log_likelihood_is_the_bernoulli_s() -> None:
    rng = np.random.default_rng(4)
    logits = torch.from_numpy(3 * rng.standard_normal((5, 2, 8, 8)))
    images = torch.from_numpy(rng.integers(0, 2, (5, 2, 8, 8)).astype(np.float64))
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(images).sum((1, 2, 3)).mean()
    assert float(bernoulli_negative_log_likelihood(logits, images)) == pytest.approx(float(expected), rel=1e-12)


def test_negative_log_likelihood_is_finite_at_extreme_logits() -> None:
    images = torch.tensor([[0.0, 1.0]])
    right, wrong = torch.tensor([[-1e4, 1e4]]), torch.tensor([[1e4, -1e4]])
    assert float(bernoulli_negative_log_likelihood(right, images)) == 0
    assert float(bernoulli_negative_log_likelihood(wrong, images)) == 2e4
