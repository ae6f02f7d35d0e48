"""The objective: every term, its sign and its weight, and what each of them sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae.config import REGULARISERS
from larvae.distributions import Gaussian, Likelihood
from larvae.networks import Architecture, VariationalAutoencoder, initialise
from larvae.objectives import (
    Batch,
    Noise,
    Terms,
    Weights,
    adversarial_terms,
    label_loss,
    label_replacement_terms,
    larvae_objective,
)

NUM_FACTORS = 5
BATCH_SIZE = 3
ELBO_TERMS = {"loss", "reconstruction", "kl"}
BASELINE_TERMS = ELBO_TERMS | {"label_loss"}
REPLACEMENT_TERMS = {"label_replacement_loss", "replacement_reconstruction", "replacement_kl"}
REGULARISER_TERMS = {
    "none": set(),
    "beta_vae": set(),
    "beta_tcvae": {"total_correlation"},
    "factor_vae": {"total_correlation", "discriminator_loss"},
}
BERNOULLI, LINEAR = Likelihood("bernoulli", "sigmoid"), Likelihood("gaussian", "linear")
each_regulariser = pytest.mark.parametrize("regulariser", REGULARISERS)


def make_model(z_dim: int = 2) -> VariationalAutoencoder:
    """With a discriminator, which only FactorVAE's terms ask for anything."""
    return initialise(Architecture(1, NUM_FACTORS + z_dim, has_discriminator=True), seed=0).double()


def make_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 2, (2, BATCH_SIZE, 1, 64, 64)).astype(np.float64))
    labels = torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS)))
    second_images = torch.from_numpy(rng.integers(0, 2, (BATCH_SIZE, 1, 64, 64)).astype(np.float64))
    return Batch(images[0], images[1], labels, second_images)


def make_noise(z_dim: int = 2) -> Noise:
    rng = np.random.default_rng(1)
    return Noise(
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS + z_dim))),
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, z_dim))),
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS + z_dim))),
        torch.from_numpy(rng.permuted(np.tile(np.arange(BATCH_SIZE)[:, None], NUM_FACTORS + z_dim), axis=0)),
    )


def make_weights(gamma_tc: float = 3.0, alpha: float = 7.0, tau: float = 0.5, pixel_variance: float = 0.5) -> Weights:
    return Weights(*(torch.tensor(value, dtype=torch.float64) for value in (gamma_tc, alpha, tau, pixel_variance)))


def terms_of(
    batch: Batch | None = None,
    *,
    z_dim: int = 2,
    weights: Weights | None = None,
    regulariser: str = "beta_tcvae",
    replaces_labels: bool = True,
    density_estimator: str = "minibatch_weighted",
    likelihood: Likelihood = BERNOULLI,
    replacement_likelihood: Likelihood | None = None,
    model: VariationalAutoencoder | None = None,
    noise: Noise | None = None,
) -> dict[str, Tensor]:
    return larvae_objective(
        model or make_model(z_dim),
        batch or make_batch(),
        noise or make_noise(z_dim),
        weights or make_weights(),
        Terms(
            regulariser=regulariser,
            density_estimator=density_estimator,
            likelihood=likelihood,
            replacement_likelihood=replacement_likelihood or likelihood,
            dataset_size=1000,
            replaces_labels=replaces_labels,
        ),
    )


def unsupervised(batch: Batch) -> Batch:
    return batch._replace(labelled_images=None, labels=None)


@pytest.mark.parametrize("z_dim", [0, 2])
@pytest.mark.parametrize("regulariser", ["beta_tcvae", "factor_vae"])
def test_loss_is_the_sum_of_weighted_terms(z_dim: int, regulariser: str) -> None:
    """The discriminator's loss is no part of it."""
    terms = terms_of(z_dim=z_dim, regulariser=regulariser)
    assert set(terms) == BASELINE_TERMS | REPLACEMENT_TERMS | REGULARISER_TERMS[regulariser]
    assert all(term.shape == () for term in terms.values())
    expected = (
        terms["reconstruction"]
        + terms["kl"]
        + 3.0 * terms["total_correlation"]
        + 7.0 * terms["label_loss"]
        + 0.5 * (terms["replacement_reconstruction"] + terms["replacement_kl"])
    )
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("z_dim", [0, 2])
def test_beta_vae_weighs_the_kl_once_more(z_dim: int) -> None:
    terms = terms_of(z_dim=z_dim, regulariser="beta_vae")
    assert set(terms) == BASELINE_TERMS | REPLACEMENT_TERMS
    expected = (
        terms["reconstruction"]
        + (1 + 3.0) * terms["kl"]
        + 7.0 * terms["label_loss"]
        + 0.5 * terms["label_replacement_loss"]
    )
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-12)


@each_regulariser
def test_without_a_regulariser_the_rest_stays_as_it_is(regulariser: str) -> None:
    """γ_tc = 0, the generic case of Section 4: the ELBO and the terms of the labels."""
    whole, rest = terms_of(regulariser=regulariser), terms_of(regulariser="none")
    assert set(rest) == BASELINE_TERMS | REPLACEMENT_TERMS
    assert all(torch.equal(rest[name], whole[name]) for name in set(rest) - {"loss"})
    expected = rest["reconstruction"] + rest["kl"] + 7.0 * rest["label_loss"] + 0.5 * rest["label_replacement_loss"]
    assert rest["loss"].item() == pytest.approx(expected.item(), rel=1e-12)


@each_regulariser
@pytest.mark.parametrize("replaces_labels", [False, True])
def test_without_labels_there_is_the_regularised_elbo_alone(regulariser: str, replaces_labels: bool) -> None:
    whole = terms_of(regulariser=regulariser)
    alone = terms_of(unsupervised(make_batch()), regulariser=regulariser, replaces_labels=replaces_labels)
    assert set(alone) == ELBO_TERMS | REGULARISER_TERMS[regulariser]
    for name in set(alone) - {"loss"}:  # encoded in a batch of half the size: equal but for rounding
        assert alone[name].item() == pytest.approx(whole[name].item(), rel=1e-9)
    difference = whole["loss"] - 7.0 * whole["label_loss"] - 0.5 * whole["label_replacement_loss"]
    assert alone["loss"].item() == pytest.approx(difference.item(), rel=1e-9)


@each_regulariser
def test_without_label_replacement_the_other_terms_stay_as_they_are(regulariser: str) -> None:
    whole = terms_of(regulariser=regulariser)
    baseline = terms_of(regulariser=regulariser, replaces_labels=False)
    assert set(whole) - set(baseline) == REPLACEMENT_TERMS
    assert all(torch.equal(baseline[name], whole[name]) for name in set(baseline) - {"loss"})
    difference = (whole["loss"] - baseline["loss"]).item()
    assert difference == pytest.approx(0.5 * whole["label_replacement_loss"].item(), rel=1e-9)


@each_regulariser
def test_each_weight_s_derivative_is_its_term(regulariser: str) -> None:
    weights = Weights(*(weight.requires_grad_() for weight in make_weights()))
    terms = terms_of(weights=weights, regulariser=regulariser)
    derivatives = torch.autograd.grad(terms["loss"], [weights.gamma_tc, weights.alpha, weights.tau])
    regulariser_term = "kl" if regulariser == "beta_vae" else "total_correlation"
    expected = [terms[name] for name in (regulariser_term, "label_loss", "label_replacement_loss")]
    assert torch.allclose(torch.stack(derivatives), torch.stack(expected).detach(), rtol=1e-12)


def test_kl_of_the_replaced_nuisance_is_added() -> None:
    """Eq. 9 prints a minus, with which the objective has no lower bound."""
    terms = terms_of()
    nuisance = make_model().encode(make_batch().labelled_images).latents(NUM_FACTORS, NUM_FACTORS + 2)
    q = torch.distributions.Normal(nuisance.mean, torch.exp(nuisance.log_variance / 2))
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros_like(q.loc), 1.0)).sum(1).mean()
    assert kl.item() > 0
    assert terms["replacement_kl"].item() == pytest.approx(kl.item(), rel=1e-9)
    sum_of_parts = terms["replacement_reconstruction"].item() + kl.item()
    assert terms["label_replacement_loss"].item() == pytest.approx(sum_of_parts, rel=1e-9)


def test_label_replacement_decodes_the_true_labels_with_a_sampled_nuisance() -> None:
    model, batch, noise = make_model(), make_batch(), make_noise()
    nuisance = model.encode(batch.labelled_images).latents(NUM_FACTORS, NUM_FACTORS + 2)
    sample = nuisance.mean + torch.exp(nuisance.log_variance / 2) * noise.labelled_nuisance
    decoded = torch.distributions.Bernoulli(logits=model.decode(torch.cat([batch.labels, sample], 1)))
    expected = -decoded.log_prob(batch.labelled_images).sum((1, 2, 3)).mean()
    assert terms_of()["replacement_reconstruction"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_labels_reach_the_replacement_and_the_label_loss_only() -> None:
    batch = make_batch()
    before, after = terms_of(batch), terms_of(batch._replace(labels=batch.labels + 1))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"loss", "label_loss", "replacement_reconstruction", "label_replacement_loss"}


@each_regulariser
def test_images_reach_the_terms_of_their_own_batch_only(regulariser: str) -> None:
    batch = make_batch()
    first, second = {"reconstruction", "kl"} | REGULARISER_TERMS[regulariser], set()
    if regulariser == "factor_vae":
        second = {"discriminator_loss"}
    for field, expected in (
        ("images", first | {"loss"}),
        ("labelled_images", REPLACEMENT_TERMS | {"label_loss", "loss"}),
        ("second_images", second),
    ):
        before, after = (
            terms_of(b, regulariser=regulariser) for b in (batch, batch._replace(**{field: 1 - getattr(batch, field)}))
        )
        moved = {name for name in before if abs((before[name] - after[name]).item()) > 1e-9}
        assert moved == expected


def test_replacement_leaves_the_label_part_of_the_encoder_alone() -> None:
    """The true label takes the inferred one's place, so nothing flows back through q(y|x)."""
    model = make_model()
    terms_of(model=model)["label_replacement_loss"].backward()
    means, log_variances = model.encoder[-1].weight.grad.split(NUM_FACTORS + 2)
    for gradient in (means, log_variances):
        assert torch.equal(gradient[:NUM_FACTORS], torch.zeros_like(gradient[:NUM_FACTORS]))
        assert (gradient[NUM_FACTORS:].abs().amax(1) > 0).all()
    assert (model.decoder[0].weight.grad.abs().amax(0) > 0).all()  # the decoder learns from labels and nuisance


def test_label_loss_trains_the_means_of_the_label_only() -> None:
    model = make_model()
    terms_of(model=model)["label_loss"].backward()
    moved = model.encoder[-1].weight.grad.abs().amax(1) > 0
    assert moved.tolist() == [True] * NUM_FACTORS + [False] * (2 + NUM_FACTORS + 2)
    assert all(parameter.grad is None for parameter in model.decoder.parameters())
    assert all(parameter.grad is None for parameter in model.discriminator.parameters())


def test_label_loss_by_hand() -> None:
    means = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    labels = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    assert label_loss(means, labels).item() == (1 + 4 + 0 + 9) / 2
    assert label_loss(means, means).item() == 0


def test_label_loss_is_that_of_the_posterior_means_of_the_labelled_batch() -> None:
    batch = make_batch()
    means = make_model().encode(batch.labelled_images).mean[:, :NUM_FACTORS]
    expected = ((means - batch.labels) ** 2).sum(1).mean()
    assert terms_of(batch)["label_loss"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_noise_reaches_samples_only() -> None:
    noise = make_noise()
    other = Noise(noise.latents + 1, noise.labelled_nuisance - 1, noise.second_latents + 1, noise.permutations.flip(0))
    for regulariser in REGULARISERS:
        before, after = (terms_of(noise=n, regulariser=regulariser) for n in (noise, other))
        unchanged = {name for name in before if torch.equal(before[name], after[name])}
        assert unchanged == {"kl", "replacement_kl", "label_loss"}


def test_without_a_nuisance_the_replacement_decodes_labels_alone() -> None:
    model, batch, noise = make_model(z_dim=0), make_batch(), make_noise(z_dim=0)
    nuisance = model.encode(batch.labelled_images).latents(NUM_FACTORS, NUM_FACTORS)
    terms = label_replacement_terms(model, batch, nuisance, noise, BERNOULLI, make_weights().pixel_variance)
    decoded = torch.distributions.Bernoulli(logits=model.decode(batch.labels))
    expected = -decoded.log_prob(batch.labelled_images).sum((1, 2, 3)).mean()
    assert terms["replacement_kl"].item() == 0
    assert terms["replacement_reconstruction"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_density_estimator_reaches_the_total_correlation_only() -> None:
    weighted, stratified = (terms_of(density_estimator=f"minibatch_{e}") for e in ("weighted", "stratified"))
    assert {name for name in weighted if not torch.equal(weighted[name], stratified[name])} == {
        "loss",
        "total_correlation",
    }


def changed_terms(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_each_likelihood_reaches_its_own_reconstruction() -> None:
    elbo, replacement = {"loss", "reconstruction"}, {"loss", "replacement_reconstruction", "label_replacement_loss"}
    bernoulli, gaussian = terms_of(likelihood=BERNOULLI), terms_of(likelihood=LINEAR)
    mixed = terms_of(likelihood=LINEAR, replacement_likelihood=BERNOULLI)
    assert changed_terms(bernoulli, gaussian) == elbo | replacement
    assert changed_terms(bernoulli, mixed) == elbo
    assert changed_terms(gaussian, mixed) == replacement


def test_variance_of_a_gaussian_reaches_both_reconstructions() -> None:
    wide = make_weights(pixel_variance=2.0)
    changed = {"loss", "reconstruction", "replacement_reconstruction", "label_replacement_loss"}
    assert changed_terms(terms_of(likelihood=LINEAR), terms_of(likelihood=LINEAR, weights=wide)) == changed
    assert changed_terms(terms_of(), terms_of(weights=wide)) == set()


def test_variance_moves_every_other_weight() -> None:
    """2σ²·L = squared error + 2σ²·(KL + γ_tc·R_u + α·label loss) + τ·(squared error + 2σ²·KL of z), and a constant."""

    def gradient(weights: Weights) -> Tensor:
        model = make_model()
        terms_of(likelihood=LINEAR, weights=weights, model=model)["loss"].backward()
        return torch.cat([p.grad.flatten() for p in model.encoder.parameters() if p.grad is not None])

    def kl_gradient() -> Tensor:
        model = make_model()
        terms = terms_of(likelihood=LINEAR, model=model)
        (terms["kl"] + 0.5 * terms["replacement_kl"]).backward()
        return torch.cat([p.grad.flatten() for p in model.encoder.parameters() if p.grad is not None])

    scaled = 0.25 * gradient(make_weights(gamma_tc=3.0 / 0.25, alpha=7.0 / 0.25, pixel_variance=0.125))
    expected = gradient(make_weights()) - 0.75 * kl_gradient()
    assert torch.allclose(scaled, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


def test_gaussian_likelihood_is_used_on_true_labels_too() -> None:
    model, batch, noise = make_model(), make_batch(), make_noise()
    nuisance = model.encode(batch.labelled_images).latents(NUM_FACTORS, NUM_FACTORS + 2)
    sample = nuisance.mean + torch.exp(nuisance.log_variance / 2) * noise.labelled_nuisance
    mean = model.decode(torch.cat([batch.labels, sample], 1))
    expected = -torch.distributions.Normal(mean, np.sqrt(0.5)).log_prob(batch.labelled_images).sum((1, 2, 3)).mean()
    value = terms_of(likelihood=LINEAR)["replacement_reconstruction"]
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)


# FactorVAE


def gradients(value: Tensor, part: torch.nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(value, list(part.parameters()), retain_graph=True, allow_unused=True))


def vanish(values: list[Tensor | None]) -> bool:
    return all(value is None or not value.any() for value in values)


def test_loss_and_discriminator_loss_train_different_parameters() -> None:
    """So the gradient of their sum is that of either, and one backward pass serves both optimisers."""
    model = make_model()
    terms = terms_of(model=model, regulariser="factor_vae")
    assert vanish(gradients(terms["loss"], model.discriminator))
    assert vanish(gradients(terms["discriminator_loss"], model.encoder))
    assert vanish(gradients(terms["discriminator_loss"], model.decoder))
    alone = gradients(terms["loss"], model.encoder), gradients(terms["discriminator_loss"], model.discriminator)
    assert not any(vanish([gradient]) for group in alone for gradient in group)
    both = terms["loss"] + terms["discriminator_loss"]
    for expected, part in zip(alone, (model.encoder, model.discriminator), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(gradients(both, part), expected, strict=True))


def test_density_ratio_trains_the_encoder_on_the_first_batch_of_all_data() -> None:
    model, batch = make_model(), make_batch()
    terms = terms_of(batch, model=model, regulariser="factor_vae")
    assert not vanish(gradients(terms["total_correlation"], model.encoder))
    assert vanish(gradients(terms["total_correlation"], model.decoder))


class RecordingModel:
    """Codes are what was given as images, without variance; keeps what the discriminator is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[Tensor, bool]] = []

    def encode(self, images: Tensor) -> Gaussian:
        return Gaussian(images, torch.full_like(images, -80.0))

    def decode(self, latents: Tensor) -> Tensor:
        raise AssertionError("FactorVAE's terms decode nothing")

    def discriminate(self, latents: Tensor, *, frozen: bool) -> Tensor:
        self.shown.append((latents, frozen))
        return torch.stack([latents.sum(1), latents.square().sum(1)], dim=1)


@pytest.mark.parametrize("seed", range(3))
def test_permuted_samples_keep_every_marginal_and_break_the_joint(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, num_latents = 50, 4
    codes, second_codes = (torch.from_numpy(rng.standard_normal((size, num_latents))) for _ in range(2))
    rows = np.tile(np.arange(size)[:, None], num_latents)
    noise = Noise(
        torch.zeros(size, num_latents),
        second_latents=torch.zeros(size, num_latents),
        permutations=torch.from_numpy(rng.permuted(rows, axis=0)),
    )
    model = RecordingModel()
    adversarial_terms(model, codes.requires_grad_(), Batch(codes, second_images=second_codes), noise)
    (ratio, ratio_frozen), (joint, joint_frozen), (permuted, permuted_frozen) = model.shown
    assert (ratio_frozen, joint_frozen, permuted_frozen) == (True, False, False)
    assert torch.equal(ratio, codes)
    assert torch.equal(joint, codes)
    assert ratio.requires_grad
    assert not joint.requires_grad
    assert not permuted.requires_grad
    assert torch.equal(permuted.sort(0).values, second_codes.sort(0).values)  # each column, none other
    joint_rows = {tuple(row) for row in second_codes.tolist()}
    assert sum(tuple(row) in joint_rows for row in permuted.tolist()) <= 1


def test_density_ratio_s_sign_is_that_of_the_total_correlation() -> None:
    """The first logit speaks for the joint; where it is larger, latents depend on each other and the loss rises."""
    codes = torch.ones(4, 3)
    noise = Noise(
        torch.zeros(4, 3), second_latents=torch.zeros(4, 3), permutations=torch.zeros(4, 3, dtype=torch.int64)
    )
    terms = adversarial_terms(RecordingModel(), codes * 0.5, Batch(codes, second_images=codes), noise)
    assert terms["total_correlation"].item() == pytest.approx(3 * 0.5 - 3 * 0.25)
