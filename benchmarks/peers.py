"""A step of another library, for `step.py --variants … pythae`: β-TCVAE on the same networks, 128 images a step.

It knows no labels, so its step has no label loss. `pip install --no-deps pythae==0.1.2` puts it beside this project.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from textbook import TextbookVAE
from torch import Tensor, nn

from larvae.config import MemberConfig
from larvae.datasets import Dataset

Step = Callable[[], object]


def pythae_step(config: MemberConfig, dataset: Dataset) -> Step:
    """pythae's BetaTCVAE with its own loss; its Bernoulli likelihood wants probabilities."""
    from pythae.models import BetaTCVAE, BetaTCVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    networks = TextbookVAE(dataset.channels, len(config.labels) + config.z_dim)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = networks.encoder

        def forward(self, images: Tensor) -> ModelOutput:
            mean, log_variance = self.net(images).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(*networks.decoder, nn.Sigmoid())

        def forward(self, latents: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(latents))

    settings = BetaTCVAEConfig(
        input_dim=(dataset.channels, 64, 64),
        latent_dim=len(config.labels) + config.z_dim,
        reconstruction_loss="bce",
        beta=1 + config.gamma_tc,
    )
    model = BetaTCVAE(settings, encoder=Encoder(), decoder=Decoder()).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    images = _images(config, dataset)

    def step() -> None:
        loss = model({"data": images}, epoch=1, dataset_size=dataset.num_images, uses_ddp=False).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _images(config: MemberConfig, dataset: Dataset) -> Tensor:
    """Images, as many as a semi-supervised step sees; always the same, which costs no loading."""
    indices = torch.randperm(dataset.num_images)[: 2 * config.batch_size].numpy()
    return torch.from_numpy(dataset.images(indices)).float() / dataset.maximum
