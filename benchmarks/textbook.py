"""The step of LaRVAE as a textbook would write it: stock PyTorch layers, eager, float32. What `step.py` compares with.

Nothing here is used by the project. It computes the same objective (β-TCVAE, minibatch-weighted) on the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from larvae.config import MemberConfig
from larvae.datasets import Dataset


def _normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, nn.InstanceNorm2d(channels), nn.ReLU()]


class TextbookVAE(nn.Module):
    """Encoder and decoder of Table D.2."""

    def __init__(self, channels: int, num_latents: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *_normalised(nn.Conv2d(channels, 32, 4, stride=2, padding=1), 32),
            *_normalised(nn.Conv2d(32, 32, 4, stride=2, padding=1), 32),
            *_normalised(nn.Conv2d(32, 64, 2, stride=2), 64),
            *_normalised(nn.Conv2d(64, 64, 2, stride=2), 64),
            nn.Flatten(),
            nn.Linear(1024, 256),
            nn.ReLU(),
            nn.Linear(256, 2 * num_latents),
        )
        self.decoder = nn.Sequential(
            nn.Linear(num_latents, 256),
            nn.ReLU(),
            nn.Linear(256, 1024),
            nn.ReLU(),
            nn.Unflatten(1, (64, 4, 4)),
            *_normalised(nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1), 64),
            *_normalised(nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), 32),
            *_normalised(nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), 32),
            nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1),
        )


class TextbookTrainer:
    """One semi-supervised β-TCVAE with label replacement, trained the obvious way."""

    def __init__(self, config: MemberConfig, dataset: Dataset, device: str = "cpu") -> None:
        self.config, self.dataset, self.device = config, dataset, device
        self.rng = np.random.default_rng(config.seed)
        self.labelled = self.rng.permutation(dataset.num_images)[: int(config.label_rate * dataset.num_images)]
        self.num_labels = len(config.labels)
        self.model = TextbookVAE(dataset.channels, self.num_labels + config.z_dim).to(device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.noise: Callable[[Tensor], Tensor] = torch.randn_like
        """Standard normal noise of a tensor's shape."""

    def step(self) -> Tensor:
        """One optimiser step on a batch of all images and one of labelled images; its loss, 0-d."""
        config = self.config
        images = self._images(self.rng.integers(self.dataset.num_images, size=config.batch_size))
        labelled = self.rng.choice(self.labelled, config.batch_size)
        labels = self.dataset.factors.to_labels(self.dataset.classes(labelled))

        mean, log_variance = self.model.encoder(images).chunk(2, dim=1)
        samples = self._sample(mean, log_variance)
        loss = _bernoulli(self.model.decoder(samples), images) + _kl(mean, log_variance)
        loss = loss + config.gamma_tc * self._total_correlation(samples, mean, log_variance)

        loss = loss + self._labelled_loss(self._images(labelled), torch.from_numpy(labels).to(self.device))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def _labelled_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        mean, log_variance = self.model.encoder(images).chunk(2, dim=1)
        loss = self.config.alpha * (mean[:, : self.num_labels] - labels).square().sum(1).mean()
        mean, log_variance = mean[:, self.num_labels :], log_variance[:, self.num_labels :]
        logits = self.model.decoder(torch.cat([labels, self._sample(mean, log_variance)], dim=1))
        return loss + self.config.tau * (_bernoulli(logits, images) + _kl(mean, log_variance))

    def _total_correlation(self, samples: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        log_size = math.log(self.dataset.num_images * len(samples))
        normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp(), validate_args=False)
        log_density = normal.log_prob(samples[:, None])
        joint = log_density.sum(2).logsumexp(1) - log_size
        return (joint - (log_density.logsumexp(1) - log_size).sum(1)).mean()

    def _sample(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return mean + (0.5 * log_variance).exp() * self.noise(mean)

    def _images(self, indices: np.ndarray) -> Tensor:
        return (torch.from_numpy(self.dataset.images(indices)).float() / self.dataset.maximum).to(self.device)


def _bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
