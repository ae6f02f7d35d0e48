"""The objective: every term, its sign and its weight, and what each of them sees."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae.distributions import Likelihood
from larvae.networks import Architecture, VariationalAutoencoder, initialise
from larvae.objectives import (
    Batch,
    Noise,
    Terms,
    Weights,
    larvae_objective,
)
from larvae.regularisers import REGULARISERS, computation

NUM_FACTORS = 5
BATCH_SIZE = 3
ELBO_TERMS = {"loss", "reconstruction", "kl"}
BASELINE_TERMS = ELBO_TERMS | {"label_loss"}
REPLACEMENT_TERMS = {"label_replacement_loss", "replacement_reconstruction", "replacement_kl"}
REGULARISER_TERMS = {
    "none": [],
    "beta_vae": ["kl"],
    "beta_tcvae": ["total_correlation"],
    "factor_vae": ["total_correlation", "discriminator_loss"],
    "dip_vae_i": ["covariance_deviation"],
    "dip_vae_ii": ["covariance_deviation"],
    "annealed_vae": ["capacity_gap", "capacity"],
}
"""The terms of each regulariser, R_u first."""
SETTINGS = {"diagonal_weight": 2.0, "capacity": 3.0}
BERNOULLI, LINEAR = Likelihood("bernoulli", "sigmoid"), Likelihood("gaussian", "linear")


def make_model(z_dim: int = 2, num_conditions: int = 0) -> VariationalAutoencoder:
    """With a discriminator, which only FactorVAE's terms ask for anything."""
    architecture = Architecture(1, NUM_FACTORS + z_dim, has_discriminator=True, num_conditions=num_conditions)
    return initialise(architecture, seed=0).double()


def make_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 2, (2, BATCH_SIZE, 1, 64, 64)).astype(np.float64))
    labels = torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS)))
    second_images = torch.from_numpy(rng.integers(0, 2, (BATCH_SIZE, 1, 64, 64)).astype(np.float64))
    return Batch(images[0], images[1], labels, second_images)


def partly_labelled() -> Batch:
    """Of the batch of all data the middle image's label is known; the others' must not matter."""
    batch = make_batch()
    known = torch.tensor([[0.0], [1.0], [0.0]])
    return batch._replace(known_labels=torch.where(known > 0, batch.labels, torch.nan), is_known=known)


def make_noise(z_dim: int = 2) -> Noise:
    rng = np.random.default_rng(1)
    return Noise(
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS + z_dim))),
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, z_dim))),
        torch.from_numpy(rng.standard_normal((BATCH_SIZE, NUM_FACTORS + z_dim))),
        torch.from_numpy(rng.permuted(np.tile(np.arange(BATCH_SIZE)[:, None], NUM_FACTORS + z_dim), axis=0)),
    )


def make_weights(gamma_tc: float = 3.0, alpha: float = 7.0, tau: float = 0.5, pixel_variance: float = 0.5) -> Weights:
    weights = (torch.tensor(value, dtype=torch.float64) for value in (gamma_tc, alpha, tau, pixel_variance))
    return Weights(*weights, settings={name: torch.tensor(value) for name, value in SETTINGS.items()})


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
    **forms: Any,
) -> dict[str, Tensor]:
    return larvae_objective(
        model or make_model(z_dim),
        batch or make_batch(),
        noise or make_noise(z_dim),
        weights or make_weights(),
        Terms(
            penalise=computation(regulariser) if regulariser in REGULARISERS else None,
            replaces_kl=regulariser in REGULARISERS and REGULARISERS[regulariser].replaces_kl,
            density_estimator=density_estimator,
            likelihood=likelihood,
            replacement_likelihood=replacement_likelihood or likelihood,
            dataset_size=1000,
            replaces_labels=replaces_labels,
            num_labels=NUM_FACTORS,
            **forms,
        ),
    )


ALL_REGULARISERS = (*REGULARISERS, "none")
"""Of γ_tc > 0, and the generic case of Section 4."""


@pytest.mark.parametrize("regulariser", ALL_REGULARISERS)
def test_loss_is_the_sum_of_weighted_terms(regulariser: str) -> None:
    """The discriminator's loss is no part of it; β-VAE weighs the KL once more, AnnealedVAE has its own instead."""
    for z_dim, replaces_labels in ((0, True), (2, True), (2, False)):
        weights = make_weights()
        terms = terms_of(z_dim=z_dim, weights=weights, regulariser=regulariser, replaces_labels=replaces_labels)
        replacement = REPLACEMENT_TERMS if replaces_labels else set()
        assert set(terms) == BASELINE_TERMS | replacement | set(REGULARISER_TERMS[regulariser])
        assert all(term.shape == () for term in terms.values())
        zero = torch.zeros(())
        of_weights = {
            "gamma_tc": terms.get(next(iter(REGULARISER_TERMS[regulariser]), ""), zero),
            "alpha": terms["label_loss"],
            "tau": terms.get("replacement_reconstruction", zero) + terms.get("replacement_kl", zero),
        }
        expected = terms["reconstruction"] + (0 if regulariser == "annealed_vae" else terms["kl"])
        expected = expected + sum(getattr(weights, name) * term for name, term in of_weights.items())
        assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-12)
        assert terms["replacement_kl"].item() >= 0 if replaces_labels else True


BOTH_RECONSTRUCTIONS = {"loss", "reconstruction", "replacement_reconstruction", "label_replacement_loss"}
REACHES: tuple[tuple[dict[str, Any], dict[str, Any], set[str]], ...] = (
    (
        {},
        {"batch": make_batch()._replace(labels=make_batch().labels + 1)},
        {"loss", "label_loss", "replacement_reconstruction", "label_replacement_loss"},
    ),
    ({}, {"density_estimator": "minibatch_stratified"}, {"loss", "total_correlation"}),
    ({}, {"weights": make_weights(pixel_variance=2.0)}, set()),
    ({}, {"likelihood": LINEAR}, BOTH_RECONSTRUCTIONS),
    ({"likelihood": LINEAR}, {"weights": make_weights(pixel_variance=2.0)}, BOTH_RECONSTRUCTIONS),
    ({"likelihood": LINEAR}, {"replacement_likelihood": BERNOULLI}, BOTH_RECONSTRUCTIONS - {"reconstruction"}),
    ({}, {"replacement": "inferred"}, BOTH_RECONSTRUCTIONS - {"reconstruction"}),
    ({}, {"detaches_nuisance": True}, set()),
    ({}, {"batch": make_batch()._replace(label_targets=torch.full((3, 5), 0.5))}, {"loss", "label_loss"}),
    ({}, {"fixes_label_variance": True}, {"loss", "reconstruction", "kl", "total_correlation"}),
    (
        {},
        {"fixes_nuisance_variance": True},
        BOTH_RECONSTRUCTIONS | {"kl", "total_correlation", "replacement_kl"},
    ),
)
"""Settings, a change of them, and the terms that it reaches."""


@pytest.mark.parametrize(("settings", "change", "reached"), REACHES)
def test_a_setting_reaches_its_own_terms_only(
    settings: dict[str, Any], change: dict[str, Any], reached: set[str]
) -> None:
    before, after = terms_of(**settings), terms_of(**(settings | change))
    assert {name for name in before if not torch.equal(before[name], after[name])} == reached


FORMS: dict[str, dict[str, Any]] = {
    "LaRVAE": {},
    "inferred": {"replacement": "inferred"},
    "detached": {"detaches_nuisance": True},
    "cross-entropy": {"batch": make_batch()._replace(label_targets=torch.rand((3, 5), dtype=torch.float64))},
    "fixed variances": {"fixes_label_variance": True, "fixes_nuisance_variance": True},
    "conditional": {"is_conditional": True, "replaces_labels": False, "batch": partly_labelled()},
}
"""Forms of the objective that the paper names, or its reviewers ask for."""


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_gradients_are_those_of_finite_differences(form: dict[str, Any]) -> None:
    """In float64, along random directions, where L_rep's gradient is not meant to stop."""
    model = make_model(num_conditions=NUM_FACTORS if "is_conditional" in form else 0)
    name = "reconstruction" if "is_conditional" in form else "label_replacement_loss"
    named = dict(model.named_parameters())
    generator = torch.Generator().manual_seed(0)
    if form == FORMS["detached"]:
        named = {n: p for n, p in named.items() if not n.startswith("encoder")}
    for part in ("label_loss", name, "loss"):
        if form == FORMS["detached"] and part != name:
            continue
        direction = {
            n: torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().abs().mean()
            for n, p in named.items()
        }
        model.zero_grad()
        terms_of(model=model, likelihood=LINEAR, regulariser="beta_vae", **form)[part].backward()
        slope = sum((p.grad * direction[n]).sum().item() for n, p in named.items() if p.grad is not None)
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                moved = copy.deepcopy(model)
                for n, parameter in moved.named_parameters():
                    if n in direction:
                        parameter += step * direction[n]
                values.append(float(terms_of(model=moved, likelihood=LINEAR, regulariser="beta_vae", **form)[part]))
        assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3), part


def test_the_control_decodes_what_is_inferred_and_its_gradient_reaches_the_labels() -> None:
    """As many gradients as more reconstruction of labelled images would have."""
    model, batch, noise = make_model(), make_batch(), make_noise()
    means, log_variances = model.encode(batch.labelled_images)
    nuisance = means[:, NUM_FACTORS:] + torch.exp(log_variances[:, NUM_FACTORS:] / 2) * noise.labelled_nuisance
    output = model.decode(torch.cat([means[:, :NUM_FACTORS], nuisance], 1))
    expected = (output - batch.labelled_images).square().sum((1, 2, 3)).mean() + 0.5 * np.log(np.pi) * 64 * 64
    terms = terms_of(model=model, likelihood=LINEAR, replacement="inferred")
    assert terms["replacement_reconstruction"].item() == pytest.approx(expected.item(), rel=1e-9)
    terms["label_replacement_loss"].backward()
    assert (model.encoder[-1].weight.grad[:NUM_FACTORS].abs().amax(1) > 0).all()


def test_a_detached_nuisance_leaves_the_encoder_alone() -> None:
    """With the true label, L_rep then trains the decoder only; with an inferred one, q(y|x) besides."""
    for replacement, reached in (("given", 0), ("inferred", NUM_FACTORS)):
        model = make_model()
        terms_of(model=model, detaches_nuisance=True, replacement=replacement)["label_replacement_loss"].backward()
        gradient = model.encoder[-1].weight.grad
        rows = [] if gradient is None else gradient.abs().amax(1).nonzero().flatten().tolist()
        assert rows == list(range(reached))
        assert (model.decoder[0].weight.grad.abs().amax(0) > 0).all()


def test_fixed_variances_take_the_place_of_learned_ones_wherever_posteriors_are() -> None:
    """Their KL is the mean's square and a constant; FactorVAE's second batch has them too."""
    variances = make_weights()._replace(label_variance=torch.tensor(0.25), nuisance_variance=torch.tensor(2.0))
    fixed = {"fixes_label_variance": True, "fixes_nuisance_variance": True, "weights": variances}
    model, batch = make_model(), make_batch()
    means = model.encode(batch.images).mean
    constants = sum(v - 1 - np.log(v) for v in [0.25] * NUM_FACTORS + [2.0] * 2) / 2
    expected = means.square().sum(1).mean().item() / 2 + constants
    assert terms_of(model=model, **fixed)["kl"].item() == pytest.approx(expected, rel=1e-6)
    learned, given = (terms_of(model=model, regulariser="factor_vae", **some) for some in ({}, fixed))
    assert learned["discriminator_loss"] != given["discriminator_loss"]
    terms_of(model=model, **fixed)["loss"].backward()
    assert torch.equal(model.encoder[-1].weight.grad[7:], torch.zeros(7, 256, dtype=torch.float64))


def test_the_conditional_model_by_definition() -> None:
    """Of each image −log p(x|y,z) + KL(q(z|x,y)), and KL(q(y|x)) where y is sampled, being unknown.

    The label is joined to the last hidden layer: what reads it is one layer of both.
    """
    model, batch, noise = make_model(num_conditions=NUM_FACTORS), partly_labelled(), make_noise()
    *layers, last = model.encoder
    hidden = torch.nn.Sequential(*layers)(batch.images)
    rows = [*range(NUM_FACTORS, NUM_FACTORS + 2), *range(2 * NUM_FACTORS + 2, 2 * NUM_FACTORS + 4)]
    joined = torch.cat([last.weight[rows], model.conditioner[0].weight], dim=1)
    y_mean, y_log_variance = (output[:, :NUM_FACTORS] for output in last(hidden).chunk(2, dim=1))
    total, kl = 0.0, 0.0
    for i, known in enumerate(batch.is_known[:, 0].bool().tolist()):
        y = y_mean[i] + torch.exp(y_log_variance[i] / 2) * noise.latents[i, :NUM_FACTORS]
        y = batch.known_labels[i] if known else y
        z_mean, z_log_variance = (joined @ torch.cat([hidden[i], y]) + last.bias[rows]).chunk(2)
        z = z_mean + torch.exp(z_log_variance / 2) * noise.latents[i, NUM_FACTORS:]
        output = model.decode(torch.cat([y, z])[None])
        kl += divergence(z_mean, z_log_variance) + (0 if known else divergence(y_mean[i], y_log_variance[i]))
        total += (output - batch.images[i]).square().sum().item() + np.log(np.pi) / 2 * 64 * 64
    terms = terms_of(model=model, likelihood=LINEAR, regulariser="none", **FORMS["conditional"])
    assert terms["kl"].item() == pytest.approx(kl / BATCH_SIZE, rel=1e-9)
    assert terms["reconstruction"].item() == pytest.approx(total / BATCH_SIZE, rel=1e-9)


def divergence(mean: Tensor, log_variance: Tensor) -> float:
    """KL of a diagonal Gaussian to the standard normal one, from PyTorch."""
    gaussian = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return torch.distributions.kl_divergence(gaussian, standard).sum().item()


def test_replacement_leaves_the_label_part_of_the_encoder_alone() -> None:
    """The true label takes the inferred one's place, so nothing flows back through q(y|x)."""
    model = make_model()
    terms_of(model=model)["label_replacement_loss"].backward()
    means, log_variances = model.encoder[-1].weight.grad.split(NUM_FACTORS + 2)
    for gradient in (means, log_variances):
        assert torch.equal(gradient[:NUM_FACTORS], torch.zeros_like(gradient[:NUM_FACTORS]))
        assert (gradient[NUM_FACTORS:].abs().amax(1) > 0).all()
    assert (model.decoder[0].weight.grad.abs().amax(0) > 0).all()  # the decoder learns from labels and nuisance


@pytest.mark.parametrize("z_dim", [0, 2])
@pytest.mark.parametrize("likelihood", [BERNOULLI, LINEAR], ids="-".join)
def test_labelled_terms_by_definition(likelihood: Likelihood, z_dim: int) -> None:
    """The true label decoded with a sampled nuisance, and the KL of that added: Eq. 9 prints a minus.

    With a minus the objective has no lower bound.
    """
    model, batch, noise = make_model(z_dim), make_batch(), make_noise(z_dim)
    posterior = model.encode(batch.labelled_images)
    nuisance = posterior.latents(NUM_FACTORS, NUM_FACTORS + z_dim)
    sample = nuisance.mean + torch.exp(nuisance.log_variance / 2) * noise.labelled_nuisance
    output = model.decode(torch.cat([batch.labels, sample], 1))
    gaussian = torch.distributions.Normal(output, np.sqrt(0.125))
    density = torch.distributions.Bernoulli(logits=output) if likelihood == BERNOULLI else gaussian
    q = torch.distributions.Normal(nuisance.mean, torch.exp(nuisance.log_variance / 2))
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    reconstruction = -density.log_prob(batch.labelled_images).sum((1, 2, 3)).mean()
    terms = terms_of(z_dim=z_dim, weights=make_weights(pixel_variance=0.125), likelihood=likelihood)
    assert terms["replacement_reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-9)
    assert terms["replacement_kl"].item() == pytest.approx(kl.item(), rel=1e-9)
    assert (kl.item() > 0) == (z_dim > 0)
    assert terms["label_replacement_loss"].item() == pytest.approx((reconstruction + kl).item(), rel=1e-9)
    expected = ((posterior.mean[:, :NUM_FACTORS] - batch.labels) ** 2).sum(1).mean()
    assert terms["label_loss"].item() == pytest.approx(expected.item(), rel=1e-9)
