"""KL, total correlation and likelihood against Monte Carlo, exact cases and torch.distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

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
from larvae.networks import Discriminator

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


def without_constants(value: Tensor, num_latents: int, dataset_size: int, estimator: str = WEIGHTED) -> float:
    """The estimate from weights that sum to 1, as 1/(N·B) do not; exact when the batch is all data and these 1/B."""
    shift = (num_latents - 1) * math.log(dataset_size) if estimator == WEIGHTED else 0
    return float(value) - shift


@each_estimator
def test_total_correlation_over_all_data_agrees_with_monte_carlo(estimator: str) -> None:
    posterior = correlated_posterior()
    size = len(posterior.mean)
    estimates = [
        without_constants(
            total_correlation(posterior, posterior.sample(standard_normal(size, 2, seed=s)), size, estimator),
            2,
            size,
            estimator,
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
    value = total_correlation(posterior, samples, len(mean), WEIGHTED)
    assert without_constants(value, 3, len(mean)) == pytest.approx(0, abs=1e-10)


@each_estimator
def test_total_correlation_of_copied_latents_grows_with_their_precision(estimator: str) -> None:
    values = []
    for log_variance in (-1.0, -3.0, -5.0):
        mean = standard_normal(300, 1).expand(300, 2)
        posterior = Gaussian(mean, torch.full_like(mean, log_variance))
        value = total_correlation(posterior, posterior.sample(standard_normal(300, 2, seed=2)), 300, estimator)
        values.append(without_constants(value, 2, 300, estimator))
    assert 0 < values[0] < values[1] < values[2]


@pytest.mark.parametrize("num_latents", [1, 2, 10])
@pytest.mark.parametrize("factor", [2, 1000])
def test_dataset_size_shifts_total_correlation_by_d_minus_1_logs(num_latents: int, factor: int) -> None:
    posterior = random_posterior(8, num_latents)
    samples = posterior.sample(standard_normal(8, num_latents))
    small, large = (total_correlation(posterior, samples, size, WEIGHTED) for size in (50, 50 * factor))
    assert float(large - small) == pytest.approx((num_latents - 1) * math.log(factor), abs=1e-10)


def test_dataset_size_leaves_the_gradient_alone() -> None:
    gradients = []
    for dataset_size in (8, 737_280):
        posterior = Gaussian(*(part.requires_grad_() for part in random_posterior(8, 3)))
        total_correlation(posterior, posterior.sample(standard_normal(8, 3)), dataset_size, WEIGHTED).backward()
        gradients.append(torch.stack([posterior.mean.grad, posterior.log_variance.grad]))
    assert gradients[0].abs().min() > 0
    assert torch.allclose(*gradients, rtol=1e-12, atol=0)


@each_estimator
def test_total_correlation_of_one_latent_is_zero(estimator: str) -> None:
    posterior = random_posterior(8, 1)
    assert float(total_correlation(posterior, posterior.sample(standard_normal(8, 1)), 100, estimator)) == 0


@pytest.mark.parametrize(
    ("estimator", "images"),
    [(WEIGHTED, [3, 0, 7, 5, 1, 6, 2, 4]), (STRATIFIED, [5, 6, 7, 0, 1, 2, 3, 4])],  # stratified: who follows whom
)
def test_total_correlation_does_not_depend_on_the_order_of_images_and_latents(
    estimator: str, images: list[int]
) -> None:
    posterior = random_posterior(8, 4)
    samples = posterior.sample(standard_normal(8, 4))
    latents = torch.tensor([2, 0, 3, 1])
    permuted = Gaussian(*(part[images][:, latents] for part in posterior))
    expected = float(total_correlation(posterior, samples, 100, estimator))
    again = float(total_correlation(permuted, samples[images][:, latents], 100, estimator))
    assert again == pytest.approx(expected, rel=1e-12)


@each_estimator
@pytest.mark.parametrize("log_variance", [-40.0, 40.0])
def test_total_correlation_is_finite_at_extreme_log_variances(log_variance: float, estimator: str) -> None:
    """Densities of e^200 or e^-200 exist in single precision only as logarithms."""
    mean = standard_normal(8, 10).float()
    posterior = Gaussian(mean.requires_grad_(), torch.full((8, 10), log_variance, requires_grad=True))
    samples = posterior.sample(standard_normal(8, 10, seed=2).float())
    value = total_correlation(posterior, samples, 737_280, estimator)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(posterior.mean.grad).all()
    assert torch.isfinite(posterior.log_variance.grad).all()


# Stratified weights

SIZES = [(2, 2), (2, 5), (3, 3), (3, 6), (4, 10), (7, 1000), (64, 737_280)]
"""Images in a batch, images in all."""


def weights_of(batch_size: int, dataset_size: int) -> NDArray[np.float64]:
    return stratified_weights(batch_size, dataset_size, torch.zeros((), dtype=torch.float64)).numpy()


@pytest.mark.parametrize(("batch_size", "dataset_size"), SIZES)
def test_rows_of_stratified_weights_sum_to_1(batch_size: int, dataset_size: int) -> None:
    """As the published code's do not: it has 1/N in a column instead of on the diagonal."""
    weights = weights_of(batch_size, dataset_size)
    assert weights.shape == (batch_size, batch_size)
    assert (weights > 0).all()
    assert weights.sum(1) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("batch_size", "dataset_size"), SIZES)
def test_stratified_weights_by_definition(batch_size: int, dataset_size: int) -> None:
    weights, others = weights_of(batch_size, dataset_size), batch_size - 1
    one_other = (dataset_size - others) / (dataset_size * others)
    for i, row in enumerate(weights):
        assert row[i] == pytest.approx(1 / dataset_size, rel=1e-12)
        expected = [one_other] + [1 / others] * (others - 1)
        assert sorted(np.delete(row, i)) == pytest.approx(sorted(expected), rel=1e-12)


def test_stratified_weights_are_of_the_asked_kind() -> None:
    assert stratified_weights(3, 10, torch.zeros(1)).dtype == torch.float32
    assert stratified_weights(3, 10, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(("batch_size", "dataset_size"), [(2, 2), (2, 6), (3, 6), (4, 4), (5, 6)])
@pytest.mark.parametrize("position", [0, 1])
def test_stratified_density_is_right_on_average_over_all_batches(
    batch_size: int, dataset_size: int, position: int
) -> None:
    """Over all batches in which the sample's own image has a place, the mean is q(ξ) = (1/N) Σ_n q(ξ | x_n) itself.

    So it is for the joint and for each marginal, and for N = B as well, where a single batch is not exact.
    """
    densities = np.random.default_rng(0).uniform(0, 1, (dataset_size, 3))  # q(ξ_0 | x_n), of three kinds
    weights = weights_of(batch_size, dataset_size)[position]
    estimates = []
    for others in itertools.permutations(range(1, dataset_size), batch_size - 1):
        batch = [*others[:position], 0, *others[position:]]
        estimates.append(weights @ densities[batch])
    assert np.mean(estimates, axis=0) == pytest.approx(densities.mean(0), rel=1e-12)
    assert (np.ptp(estimates, axis=0) > 0).all() or dataset_size == 2


@pytest.mark.parametrize(("batch_size", "dataset_size"), [(2, 2), (5, 5), (5, 100), (8, 737_280)])
@pytest.mark.parametrize("num_latents", [2, 10])
def test_stratified_total_correlation_by_definition(batch_size: int, dataset_size: int, num_latents: int) -> None:
    posterior = random_posterior(batch_size, num_latents)
    samples = posterior.sample(standard_normal(batch_size, num_latents))
    weights = weights_of(batch_size, dataset_size)
    means, deviations = posterior.mean.numpy(), np.exp(posterior.log_variance.numpy() / 2)
    terms = []
    for i in range(batch_size):
        densities = norm.pdf(samples[i].numpy(), means, deviations)  # [j, dimension]
        terms.append(math.log(weights[i] @ densities.prod(1)) - np.log(weights[i] @ densities).sum())
    value = total_correlation(posterior, samples, dataset_size, STRATIFIED)
    assert float(value) == pytest.approx(np.mean(terms), rel=1e-9)


def test_stratified_total_correlation_of_two_images_that_are_all_data_is_exact() -> None:
    """N = B = 2: both weights are 1/2, the aggregate's own."""
    posterior = random_posterior(2, 3)
    samples = posterior.sample(standard_normal(2, 3))
    expected = log_ratio(samples.numpy(), posterior).mean()
    assert float(total_correlation(posterior, samples, 2, STRATIFIED)) == pytest.approx(expected, rel=1e-12)


def test_estimators_agree_in_direction_on_a_large_batch_that_overlaps() -> None:
    """Their weights then differ for few of many images that count."""
    gradients = []
    for estimator in (WEIGHTED, STRATIFIED):
        means = np.random.default_rng(2).multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 400)
        posterior = Gaussian(torch.from_numpy(means), torch.full((400, 2), -1.0, dtype=torch.float64))
        posterior = Gaussian(*(part.requires_grad_() for part in posterior))
        total_correlation(posterior, posterior.sample(standard_normal(400, 2)), 10**6, estimator).backward()
        gradients.append(
            torch.stack([posterior.mean.grad, posterior.log_variance.grad], dim=1)
        )  # [image, kind, latent]
    weighted, stratified = gradients
    assert F.cosine_similarity(weighted.flatten(), stratified.flatten(), dim=0) > 0.95
    signs, expected = stratified.sum(0).sign(), weighted.sum(0).sign()
    assert torch.equal(signs[1], expected[1])  # of the log variances: both widen or narrow each latent


# Total correlation by density ratio

CORRELATION = 0.8
ANALYTIC = -0.5 * math.log(1 - CORRELATION**2)
"""Total correlation of a Gaussian with two latents of this correlation, in nats."""


def correlated_samples(size: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    covariance = [[1, CORRELATION], [CORRELATION, 1]]
    return torch.from_numpy(rng.multivariate_normal([0, 0], covariance, size))


def optimal_logits(samples: Tensor) -> Tensor:
    """What a discriminator that knows both densities gives, but for a constant of each sample that cancels."""
    covariance = torch.tensor([[1, CORRELATION], [CORRELATION, 1]], dtype=samples.dtype)
    joint = torch.distributions.MultivariateNormal(samples.new_zeros(2), covariance).log_prob(samples)
    marginals = torch.distributions.Normal(0.0, 1.0).log_prob(samples).sum(1)
    return torch.stack([joint + samples[:, 0], marginals + samples[:, 0]], dim=1)


def test_density_ratio_of_the_optimal_discriminator_is_the_total_correlation() -> None:
    logits = optimal_logits(correlated_samples(100_000))
    standard_error = float((logits[:, 0] - logits[:, 1]).std()) / math.sqrt(100_000)
    assert float(density_ratio(logits)) == pytest.approx(ANALYTIC, abs=4 * standard_error)
    assert standard_error < 0.01 < ANALYTIC


def test_density_ratio_is_that_of_the_discriminator_s_probabilities() -> None:
    logits = standard_normal(7, 2)
    joint, product = torch.softmax(logits, dim=1).T
    assert float(density_ratio(logits)) == pytest.approx(float((joint / product).log().mean()), rel=1e-12)


def test_discriminator_loss_is_the_mean_cross_entropy() -> None:
    joint, permuted = standard_normal(5, 2), standard_normal(5, 2, seed=2)
    kinds = torch.tensor([0] * 5 + [1] * 5)
    expected = F.cross_entropy(torch.cat([joint, permuted]), kinds)
    assert float(discriminator_loss(joint, permuted)) == pytest.approx(float(expected), rel=1e-12)


def test_discriminator_that_knows_nothing_loses_log_2() -> None:
    same = torch.tensor([[3.0, 3.0]])
    assert float(discriminator_loss(same, same)) == pytest.approx(math.log(2))
    sure = torch.tensor([[1e4, -1e4]])
    assert float(discriminator_loss(sure, -sure)) == 0
    assert float(discriminator_loss(-sure, sure)) == 2e4


def test_no_discriminator_loses_less_than_the_optimal_one() -> None:
    joint = correlated_samples(20_000)
    product = standard_normal(20_000, 2)
    optimum = float(discriminator_loss(optimal_logits(joint), optimal_logits(product)))
    assert optimum < math.log(2) - 0.05
    for scale in (0.0, 0.5, 2.0):
        others = (optimal_logits(samples) * torch.tensor([scale, 1.0]) for samples in (joint, product))
        halves = (scale * optimal_logits(samples) for samples in (joint, product))
        assert float(discriminator_loss(*others)) > optimum
        assert float(discriminator_loss(*halves)) > optimum


@pytest.mark.parametrize("correlated", [True, False])
def test_discriminator_learns_what_correlated_latents_give_away(correlated: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        discriminator = Discriminator(2, width=64, depth=3).double()
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    losses = []
    for iteration in range(300):
        joint, second = (correlated_samples(256, seed) for seed in (2 * iteration, 2 * iteration + 1))
        if not correlated:
            joint = standard_normal(256, 2, seed=iteration)
        permuted = torch.stack([second[:, 0], second[:, 1].roll(1)], dim=1)
        loss = discriminator_loss(discriminator(joint), discriminator(permuted))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(math.log(2), abs=0.02)
    if correlated:
        assert np.mean(losses[-50:]) < math.log(2) - 0.07
        estimate = float(density_ratio(discriminator(correlated_samples(20_000, seed=10**6))).detach())
        assert estimate == pytest.approx(ANALYTIC, abs=0.15)
    else:
        assert np.mean(losses[-50:]) == pytest.approx(math.log(2), abs=0.01)


# Likelihood


def test_negative_log_likelihood_is_the_bernoulli_s() -> None:
    rng = np.random.default_rng(4)
    logits = torch.from_numpy(3 * rng.standard_normal((5, 2, 8, 8)))
    images = torch.from_numpy(rng.integers(0, 2, (5, 2, 8, 8)).astype(np.float64))
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(images).sum((1, 2, 3)).mean()
    assert float(negative_log_likelihood(logits, images, BERNOULLI, HALF)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("variance", [0.5, 0.01, 3.0])
@pytest.mark.parametrize("likelihood", [LINEAR, SIGMOID], ids="-".join)
@pytest.mark.parametrize("channels", [1, 3])
def test_negative_log_likelihood_is_the_gaussian_s(channels: int, likelihood: Likelihood, variance: float) -> None:
    rng = np.random.default_rng(4)
    output = torch.from_numpy(3 * rng.standard_normal((5, channels, 8, 8)))
    images = torch.from_numpy(rng.uniform(0, 1, (5, channels, 8, 8)))
    mean = torch.sigmoid(output) if likelihood.pixel_mean == "sigmoid" else output
    expected = -torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(images).sum((1, 2, 3)).mean()
    value = negative_log_likelihood(output, images, likelihood, torch.tensor(variance, dtype=torch.float64))
    assert float(value) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("likelihood", "factor"), [(BERNOULLI, lambda x: 1), (LINEAR, lambda x: 2), (SIGMOID, lambda x: 2 * x * (1 - x))]
)
def test_gradient_at_the_output_is_the_error_times_what_the_likelihood_makes_of_it(
    likelihood: Likelihood, factor: Callable[[Tensor], Tensor]
) -> None:
    """x̂ − x, 2(x̂ − x) and 2(x̂ − x)·x̂(1 − x̂) with σ² = ½."""
    output = standard_normal(3, 1, 4, 4).requires_grad_()
    images = torch.from_numpy(np.random.default_rng(5).uniform(0, 1, (3, 1, 4, 4)))
    found = torch.autograd.grad(negative_log_likelihood(output, images, likelihood, HALF), output)[0]
    pixels = likelihood.mean(output.detach())
    assert torch.allclose(3 * found, factor(pixels) * (pixels - images), rtol=1e-12)


@each_likelihood
def test_negative_log_likelihood_is_least_at_the_image(likelihood: Likelihood) -> None:
    images = torch.from_numpy(np.random.default_rng(6).uniform(0.1, 0.9, (2, 1, 4, 4)))
    output = (images.clone() if likelihood == LINEAR else torch.logit(images)).requires_grad_()
    assert torch.allclose(likelihood.mean(output), images)
    gradient = torch.autograd.grad(negative_log_likelihood(output, images, likelihood, HALF), output)[0]
    assert float(gradient.abs().max()) < 1e-12
    best = float(negative_log_likelihood(output, images, likelihood, HALF).detach())
    assert float(negative_log_likelihood(output.detach() + 0.1, images, likelihood, HALF)) > best


@each_likelihood
def test_negative_log_likelihood_sums_over_pixels_and_averages_over_images(likelihood: Likelihood) -> None:
    output = standard_normal(4, 1, 6, 6)
    images = torch.from_numpy(np.random.default_rng(7).uniform(0, 1, (4, 1, 6, 6)))

    def value(*place: Any) -> float:
        return float(negative_log_likelihood(output[place], images[place], likelihood, HALF))

    whole = value(slice(None))
    assert np.mean([value(slice(i, i + 1)) for i in range(4)]) == pytest.approx(whole, rel=1e-12)
    assert value(..., slice(3)) + value(..., slice(3, 6)) == pytest.approx(whole, rel=1e-12)


def test_negative_log_likelihood_is_finite_at_extreme_logits() -> None:
    images = torch.tensor([[0.0, 1.0]])
    right, wrong = torch.tensor([[-1e4, 1e4]]), torch.tensor([[1e4, -1e4]])
    assert float(negative_log_likelihood(right, images, BERNOULLI, HALF)) == 0
    assert float(negative_log_likelihood(wrong, images, BERNOULLI, HALF)) == 2e4
    constant = 0.5 * math.log(math.pi) * 2
    assert float(negative_log_likelihood(right, images, SIGMOID, HALF)) == pytest.approx(constant)
    assert float(negative_log_likelihood(wrong, images, SIGMOID, HALF)) == pytest.approx(constant + 2)
