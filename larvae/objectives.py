"""The objective of Eq. 7 as a pure function of networks, batch, noise and weights, for all models.

They differ in R_u alone (`larvae.regularisers`); each is unsupervised (α = τ = 0), the semi-supervised
baseline (τ = 0) or LaRVAE. Nothing here knows of devices, steps or logs, and every weight is a tensor,
so that the same text serves one member, a compiled step, or many members at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from larvae.distributions import (
    Gaussian,
    Likelihood,
    kl_of_images,
    kl_to_standard_normal,
    negative_log_likelihood,
)


class Batch(NamedTuple):
    """The inputs of one iteration (Table 1); None where the objective has no use for them."""

    images: Tensor
    """Images of all data, (B, C, 64, 64), in [0, 1]."""
    labelled_images: Tensor | None = None
    """Images of the labelled set, (B, C, 64, 64); None in unsupervised learning, α = τ = 0."""
    labels: Tensor | None = None
    """Labels of the labelled images, (B, |y|), as L_rep decodes them."""
    second_images: Tensor | None = None
    """Further images of all data, for FactorVAE's discriminator, (B, C, 64, 64)."""
    label_targets: Tensor | None = None
    """The labels in [0, 1], (B, |y|), where the label loss is a cross-entropy."""
    known_labels: Tensor | None = None
    """Labels of images of all data for the conditional model, (B, |y|), where they are known; else anything."""
    is_known: Tensor | None = None
    """(B, 1): 1 where an image's label is known, else 0."""


class Noise(NamedTuple):
    """Standard normal noise of the reparametrised samples, and FactorVAE's permutations."""

    latents: Tensor
    """(B, |y| + |z|), for the batch of all data."""
    labelled_nuisance: Tensor | None = None
    """(B, |z|), for the labelled batch."""
    second_latents: Tensor | None = None
    """(B, |y| + |z|), for the second batch of all data."""
    permutations: Tensor | None = None
    """(B, |y| + |z|), integers: a permutation of the second batch for each latent."""


class Weights(NamedTuple):
    """Coefficients of the terms, and the variance that is one within them; 0-d tensors."""

    gamma_tc: Tensor
    alpha: Tensor
    tau: Tensor
    pixel_variance: Tensor
    """σ² of a Gaussian likelihood."""
    settings: Mapping[str, Tensor] = {}
    """The regulariser's own, as they are in this iteration."""
    label_variance: Tensor = torch.ones(())
    """σ_y², where q(y|x) does not learn it."""
    nuisance_variance: Tensor = torch.ones(())
    """σ_z², where q(z|x) does not learn it."""


class Terms(NamedTuple):
    """The terms that the objective has, and their forms: what no tensor can say."""

    penalise: Penalise | None
    """Computes R_u; None where γ_tc = 0."""
    replaces_kl: bool
    """True if R_u takes the place of the ELBO's KL."""
    density_estimator: str
    likelihood: Likelihood
    """Likelihood of the ELBO."""
    replacement_likelihood: Likelihood
    """Likelihood of L_rep."""
    dataset_size: int
    replaces_labels: bool
    """False leaves out L_rep and its cost; right when τ = 0, the baseline."""
    replacement: str = "given"
    """Label that L_rep decodes: given, or inferred."""
    detaches_nuisance: bool = False
    """True if L_rep's gradient does not reach q(z|x)."""
    num_labels: int = 0
    """|y|"""
    fixes_label_variance: bool = False
    """True if q(y|x) has a given variance, not a learned one."""
    fixes_nuisance_variance: bool = False
    """True if q(z|x) has."""
    is_conditional: bool = False
    """True if q(z|x, y) depends on the label, as in Fig. 1a."""


class Encoded(NamedTuple):
    """The batch of all data, encoded, and the rest that a regulariser may ask for."""

    posterior: Gaussian
    samples: Tensor
    """One of each posterior, with the encoder's gradient, (B, D)."""
    kl: Tensor
    """KL of the posterior to the prior, 0-d."""
    settings: Mapping[str, Tensor]
    """The regulariser's own, 0-d each."""
    terms: Terms
    model: Model
    batch: Batch
    noise: Noise


class Penalty(NamedTuple):
    """A regulariser's value."""

    value: Tensor
    """R_u, which γ_tc weighs; 0-d."""
    told: Mapping[str, Tensor] = {}
    """Terms that rows have besides, by name, each 0-d. `discriminator_loss` is minimised, too."""


Penalise = Callable[[Encoded], Penalty]


class Model(Protocol):
    """The methods that the objective asks of a model."""

    def encode(self, images: Tensor) -> Gaussian: ...

    def decode(self, latents: Tensor) -> Tensor: ...

    def condition(self, labels: Tensor) -> Tensor: ...

    def discriminate(self, latents: Tensor, *, frozen: bool) -> Tensor: ...


class FixedVariances:
    """A model whose posteriors have the variances of Section 3.3, in place of those that its encoder gives."""

    def __init__(self, model: Model, weights: Weights, terms: Terms) -> None:
        self.decode, self.discriminate = model.decode, model.discriminate
        self._model, self._weights, self._terms = model, weights, terms

    def encode(self, images: Tensor) -> Gaussian:
        mean, log_variance = self._model.encode(images)
        label, nuisance = log_variance.tensor_split([self._terms.num_labels], dim=1)
        if self._terms.fixes_label_variance:
            label = self._weights.label_variance.log().expand_as(label)
        if self._terms.fixes_nuisance_variance:
            nuisance = self._weights.nuisance_variance.log().expand_as(nuisance)
        return Gaussian(mean, torch.cat([label, nuisance], dim=1))

    def condition(self, labels: Tensor) -> Tensor:
        mean, log_variance = self._model.condition(labels).chunk(2, dim=1)
        return torch.cat([mean, torch.zeros_like(mean) if self._terms.fixes_nuisance_variance else log_variance], dim=1)


def larvae_objective(model: Model, batch: Batch, noise: Noise, weights: Weights, terms: Terms) -> dict[str, Tensor]:
    """All terms of Eq. 7 by name and their weighted sum `loss`, each 0-d, in nats.

    L = E[−log p(x|ỹ,z̃)] + KL + γ_tc·R_u + α·Σ(μ_y − y)² + τ·(E[−log p(x|y,z̃)] + KL(z)); Eq. 9 prints
    the last KL with a minus, which its derivation (B.19) contradicts.

    A regulariser may have a `discriminator_loss` beside it, no part of `loss`: the gradient of either vanishes
    for the other's parameters, so both are minimised by the gradient of their sum.
    """
    if terms.fixes_label_variance or terms.fixes_nuisance_variance:
        model = FixedVariances(model, weights, terms)
    posterior, labelled_posterior = _posteriors(model, batch)
    if terms.is_conditional:
        samples, kl = _conditional_samples(model, posterior, batch, noise)
    else:
        samples, kl = posterior.sample(noise.latents), kl_to_standard_normal(posterior)
    replaced = None
    if labelled_posterior is not None and terms.replaces_labels:
        replaced = _replaced(batch, labelled_posterior, noise, terms)
    output, replaced_output = _decoded(model, samples, replaced)
    variance = weights.pixel_variance
    values = {"reconstruction": negative_log_likelihood(output, batch.images, terms.likelihood, variance), "kl": kl}
    loss = values["reconstruction"] if terms.replaces_kl else values["reconstruction"] + kl

    if labelled_posterior is not None and batch.labels is not None:
        means = labelled_posterior.mean[:, : batch.labels.shape[1]]
        if batch.label_targets is None:
            values["label_loss"] = label_loss(means, batch.labels)
        else:
            values["label_loss"] = label_cross_entropy(means, batch.label_targets)
        loss = loss + weights.alpha * values["label_loss"]

    if terms.penalise is not None:
        penalty = terms.penalise(Encoded(posterior, samples, kl, weights.settings, terms, model, batch, noise))
        values |= penalty.told
        loss = loss + weights.gamma_tc * penalty.value

    if replaced is not None and replaced_output is not None:
        values |= label_replacement_terms(replaced_output, replaced.nuisance, batch, terms, variance)
        loss = loss + weights.tau * values["label_replacement_loss"]
    return values | {"loss": loss}


def minimised(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of an objective's terms that is minimised: the loss and, where there is one, the discriminator's."""
    return terms["loss"] + terms.get("discriminator_loss", 0)


def label_loss(means: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of posterior means to labels, both (B, |y|), averaged over the batch (Eq. 8)."""
    return (means - labels).square().sum(1).mean()


def label_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of labels in [0, 1], both (B, |y|), summed over them and averaged over the batch, in nats.

    Eq. 4's R_s as disentanglement_lib has it, for labels of more than two classes too; but there a class index is
    divided by the number n of classes, in place of n − 1, so that no label is 1.
    """
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(labels)


def label_replacement_terms(
    output: Tensor, nuisance: Gaussian, batch: Batch, terms: Terms, variance: Tensor
) -> dict[str, Tensor]:
    """L_rep of Eq. 9 with its two parts. output: of the latents `_replaced`. nuisance: q(z|x). variance: σ²."""
    (images,) = given(batch.labelled_images)
    reconstruction = negative_log_likelihood(output, images, terms.replacement_likelihood, variance)
    kl = kl_to_standard_normal(nuisance)
    return {
        "replacement_reconstruction": reconstruction,
        "replacement_kl": kl,
        "label_replacement_loss": reconstruction + kl,
    }


def inferred_posterior(model: Model, images: Tensor, terms: Terms) -> Gaussian:
    """q(y, z | x) of images (B, C, 64, 64), each (B, D); where z depends on y, at q(y|x)'s mean."""
    posterior = model.encode(images)
    return conditioned(model, posterior, posterior.mean[:, : terms.num_labels]) if terms.is_conditional else posterior


def conditioned(model: Model, posterior: Gaussian, labels: Tensor) -> Gaussian:
    """The encoder's output (B, D) as q(y|x) and q(z|x, y) at some labels (B, |y|)."""
    num_labels = labels.shape[1]
    shifts = model.condition(labels).chunk(2, dim=1)
    return Gaussian(*(F.pad(shift, (num_labels, 0)) + output for shift, output in zip(shifts, posterior, strict=True)))


def _conditional_samples(model: Model, posterior: Gaussian, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
    """One sample of each latent (B, D), and the KL to the prior, 0-d: of the conditional model (Kingma et al., 2014).

    y is q(y|x)'s sample, or the image's own where it is known: its −log p(y) is constant, and left out.
    """
    known, is_known = given(batch.known_labels, batch.is_known)
    num_labels = known.shape[1]
    label = posterior.latents(0, num_labels)
    label_noise, nuisance_noise = noise.latents.tensor_split([num_labels], dim=1)
    labels = torch.where(is_known > 0, known, label.sample(label_noise))
    nuisance = conditioned(model, posterior, labels).latents(num_labels, posterior.mean.shape[1])
    kl = (1 - is_known[:, 0]) * kl_of_images(label) + kl_of_images(nuisance)
    return torch.cat([labels, nuisance.sample(nuisance_noise)], dim=1), kl.mean()


class _Replaced(NamedTuple):
    """The labelled batch's latents, as L_rep decodes them."""

    latents: Tensor
    """(B, D)"""
    nuisance: Gaussian
    """q(z|x)"""


def _replaced(batch: Batch, labelled_posterior: Gaussian, noise: Noise, terms: Terms) -> _Replaced:
    """The *true* label with a sampled nuisance.

    The control has q(y|x)'s mean in its place: as much reconstruction of labelled images, without their labels.
    """
    labels, nuisance_noise = given(batch.labels, noise.labelled_nuisance)
    num_labels = labels.shape[1]
    nuisance = labelled_posterior.latents(num_labels, labelled_posterior.mean.shape[1])
    if terms.detaches_nuisance:
        nuisance = Gaussian(nuisance.mean.detach(), nuisance.log_variance.detach())
    decoded = labels if terms.replacement == "given" else labelled_posterior.mean[:, :num_labels]
    return _Replaced(torch.cat([decoded, nuisance.sample(nuisance_noise)], dim=1), nuisance)


def _decoded(model: Model, samples: Tensor, replaced: _Replaced | None) -> tuple[Tensor, Tensor | None]:
    """Outputs of the batch of all data and of the labelled one, decoded in one go."""
    if replaced is None:
        return model.decode(samples), None
    outputs = model.decode(torch.cat([samples, replaced.latents]))
    return outputs[: len(samples)], outputs[len(samples) :]


def _posteriors(model: Model, batch: Batch) -> tuple[Gaussian, Gaussian | None]:
    """q(y, z | x) of the batch of all data and of the labelled one, encoded in one go."""
    if batch.labelled_images is None:
        return model.encode(batch.images), None
    posteriors = model.encode(torch.cat([batch.images, batch.labelled_images]))
    size = len(batch.images)
    return posteriors.images(0, size), posteriors.images(size, 2 * size)


def given(*tensors: Tensor | None) -> list[Tensor]:
    """The tensors, of which the objective needs every one."""
    given = [tensor for tensor in tensors if tensor is not None]
    assert len(given) == len(tensors), "the batch or its noise lacks what this objective needs"
    return given
