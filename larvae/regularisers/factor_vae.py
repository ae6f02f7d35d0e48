"""FactorVAE (Kim & Mnih, 2018): the total correlation, estimated by a discriminator."""

from __future__ import annotations

import torch

from larvae.distributions import density_ratio, discriminator_loss
from larvae.objectives import Encoded, Penalty, given


def penalty(encoded: Encoded) -> Penalty:
    """The total correlation, and the discriminator's loss beside it (Kim & Mnih, 2018, Algorithm 2).

    The product of the marginals is sampled by permuting each latent of a second batch.
    """
    model, noise = encoded.model, encoded.noise
    images, latent_noise, permutations = given(encoded.batch.second_images, noise.second_latents, noise.permutations)
    with torch.no_grad():
        permuted = model.encode(images).sample(latent_noise).gather(0, permutations)
    value = density_ratio(model.discriminate(encoded.samples, frozen=True))
    loss = discriminator_loss(
        model.discriminate(encoded.samples.detach(), frozen=False), model.discriminate(permuted, frozen=False)
    )
    return Penalty(value, {"total_correlation": value, "discriminator_loss": loss})
