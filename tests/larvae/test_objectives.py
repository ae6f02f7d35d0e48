"""The objective: every term, its sign and its weight, and what each of them sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae.networks import VariationalAutoencoder, initialise
from larvae.objectives import Batch, Noise, Weights, label_loss, label_replacement_terms, larvae_objective

NUM_FACTORS = 5
BATCH_SIZE = 3
BASELINE_TERMS = {"loss", "reconstruction", "kl", "label_loss"}
REPLACEMENT_TERMS = {"label_replacement_loss", "replacement_reconstruction", "replacement_kl"}


def make_model(z_dim: int = 2) -> VariationalAutoencoder:
    return initialise(1, NUM_FACTORS + z_dim, seed=0).double()


def make_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 2, (2, BATCH_SIZE, 1, 64, 64)).astype(np.float64))
    return Batch(images[0], images[1], torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS))))


def make_noise(z_dim: int = 2) -> Noise:
    rng = np.random.default_rng(1)
    return Noise(
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS + z_dim))),
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, z_dim))),
    )


def make_weights(gamma_tc: float = 3.0, alpha: float = 7.0, tau: float = 0.5) -> Weights:
    return Weights(*(torch.tensor(value, dtype=torch.float64) for value in (gamma_tc, alpha, tau)))


def terms_of(
    batch: Batch | None = None,
    *,
    z_dim: int = 2,
    weights: Weights | None = None,
    regulariser: str = "beta_tcvae",
    replaces_labels: bool = True,
    model: VariationalAutoencoder | None = None,
    noise: Noise | None = None,
) -> dict[str, Tensor]:
    return larvae_objective(
        model or make_model(z_dim),
        batch or make_batch(),
        noise or make_noise(z_dim),
        weights or make_weights(),
        regulariser=regulariser,
        dataset_size=1000,
        replaces_labels=replaces_labels,
    )


@pytest.mark.parametrize("z_dim", [0, 2])
def test_loss_is_the_sum_of_weighted_terms(z_dim: int) -> None:
    terms = terms_of(z_dim=z_dim)
    assert set(terms) == BASELINE_TERMS | REPLACEMENT_TERMS | {"total_correlation"}
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


@pytest.mark.parametrize("regulariser", ["beta_tcvae", "beta_vae"])
def test_without_label_replacement_the_other_terms_stay_as_they_are(regulariser: str) -> None:
    whole = terms_of(regulariser=regulariser)
    baseline = terms_of(regulariser=regulariser, replaces_labels=False)
    assert set(whole) - set(baseline) == REPLACEMENT_TERMS
    assert all(torch.equal(baseline[name], whole[name]) for name in set(baseline) - {"loss"})
    difference = (whole["loss"] - baseline["loss"]).item()
    assert difference == pytest.approx(0.5 * whole["label_replacement_loss"].item(), rel=1e-9)


def test_each_weight_s_derivative_is_its_term() -> None:
    weights = Weights(*(weight.requires_grad_() for weight in make_weights()))
    terms = terms_of(weights=weights)
    derivatives = torch.autograd.grad(terms["loss"], list(weights))
    expected = [terms[name] for name in ("total_correlation", "label_loss", "label_replacement_loss")]
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


def test_images_reach_the_terms_of_their_own_batch_only() -> None:
    batch = make_batch()
    labelled_terms = REPLACEMENT_TERMS | {"label_loss"}
    for field, expected in (
        ("images", {"reconstruction", "kl", "total_correlation"}),
        ("labelled_images", labelled_terms),
    ):
        before, after = terms_of(batch), terms_of(batch._replace(**{field: 1 - getattr(batch, field)}))
        moved = {name for name in before if abs((before[name] - after[name]).item()) > 1e-9}
        assert moved == expected | {"loss"}


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
    before, after = terms_of(noise=noise), terms_of(noise=Noise(noise.latents + 1, noise.labelled_nuisance - 1))
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {"kl", "replacement_kl", "label_loss"}


def test_without_a_nuisance_the_replacement_decodes_labels_alone() -> None:
    model, batch, noise = make_model(z_dim=0), make_batch(), make_noise(z_dim=0)
    nuisance = model.encode(batch.labelled_images).latents(NUM_FACTORS, NUM_FACTORS)
    terms = label_replacement_terms(model, batch, nuisance, noise.labelled_nuisance)
    decoded = torch.distributions.Bernoulli(logits=model.decode(batch.labels))
    expected = -decoded.log_prob(batch.labelled_images).sum((1, 2, 3)).mean()
    assert terms["replacement_kl"].item() == 0
    assert terms["replacement_reconstruction"].item() == pytest.approx(expected.item(), rel=1e-9)
