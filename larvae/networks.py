"""Encoder and decoder of Table D.2, for 64×64 images, and the discriminator of FactorVAE."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from larvae import streams
from larvae.distributions import Gaussian
from larvae.streams import Stream

HIDDEN = 256
"""Features of the layer next to the latents, of encoder and decoder."""
EPSILON = 1e-5
"""Added to variances before a norm divides by their root."""


class InstanceNormReLU(nn.Module):
    """ReLU of each channel of each image standardised over its pixels; no affine parameters.

    Written as mean and variance rather than `F.instance_norm`, which takes the way through batch
    norm and cannot be fused by a compiler.
    """

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        variance = centred.square().mean((2, 3), keepdim=True)
        return torch.relu(centred * torch.rsqrt(variance + EPSILON))


class PatchConv2d(nn.Conv2d):
    """A 4×4 convolution of stride 2 and padding 1 as a matrix times patches.

    Parameters and result are its base's; for few channels a CPU library's gradient is far slower.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2] // 2, x.shape[3] // 2
        patches = F.unfold(x, kernel_size=4, padding=1, stride=2)
        product = (self.weight.flatten(1) @ patches).view(len(x), -1, height, width)
        return product if self.bias is None else product + self.bias[:, None, None]


class PatchConvTranspose2d(nn.ConvTranspose2d):
    """A transposed 4×4 convolution of stride 2 and padding 1: a matrix product laid over as patches."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert self.bias is not None
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        patches = self.weight.flatten(1).T @ x.flatten(2)
        return F.fold(patches, (height, width), kernel_size=4, padding=1, stride=2) + self.bias[:, None, None]


class Architecture(NamedTuple):
    """The properties that shape a model's parameters."""

    channels: int
    num_latents: int
    instance_norm: bool = True
    """False leaves out the norms of Table D.2 and gives the convolutions the biases that a norm would take away."""
    has_discriminator: bool = False
    num_conditions: int = 0
    """|y| where z depends on the label, too; else 0."""

    def activation(self) -> nn.Module:
        return InstanceNormReLU() if self.instance_norm else nn.ReLU()


class Encoder(nn.Sequential):
    """Images (B, C, 64, 64) to posterior means and log-variances side by side, (B, 2·D)."""

    def __init__(self, architecture: Architecture) -> None:
        bias = not architecture.instance_norm
        super().__init__(
            PatchConv2d(architecture.channels, 32, bias=bias),
            architecture.activation(),
            nn.Conv2d(32, 32, 4, stride=2, padding=1, bias=bias),
            architecture.activation(),
            nn.Conv2d(32, 64, 2, stride=2, bias=bias),
            architecture.activation(),
            nn.Conv2d(64, 64, 2, stride=2, bias=bias),
            architecture.activation(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 2 * architecture.num_latents),
        )


class Decoder(nn.Sequential):
    """Latents (B, D) to means of pixels, or the logits of them that a likelihood wants, (B, C, 64, 64)."""

    def __init__(self, architecture: Architecture) -> None:
        bias = not architecture.instance_norm
        super().__init__(
            nn.Linear(architecture.num_latents, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 1024),
            nn.ReLU(),
            nn.Unflatten(1, (64, 4, 4)),
            nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1, bias=bias),
            architecture.activation(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=bias),
            architecture.activation(),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1, bias=bias),
            architecture.activation(),
            PatchConvTranspose2d(32, architecture.channels),
        )


class Discriminator(nn.Sequential):
    """Latents (B, D) to logits (B, 2): of the joint, of the product of marginals (Kim & Mnih, 2018, Appendix A)."""

    def __init__(self, num_latents: int) -> None:
        widths = [num_latents] + [1000] * 6
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Linear(widths[-1], 2))


class Conditioner(nn.Sequential):
    """Labels (B, |y|) to what they add to the nuisance's means and log-variances side by side, (B, 2·|z|).

    With the encoder's last layer it is one layer, of the last hidden features and the label joined to them; its weights
    start as that layer's would.
    """

    def __init__(self, architecture: Architecture) -> None:
        num_labels = architecture.num_conditions
        layer = nn.Linear(num_labels, 2 * (architecture.num_latents - num_labels), bias=False)
        bound = (HIDDEN + num_labels) ** -0.5
        nn.init.uniform_(layer.weight, -bound, bound)
        super().__init__(layer)


class VariationalAutoencoder(nn.Module):
    """Encoder and decoder over D = |y| + |z| latents, the label y first; for FactorVAE, a discriminator of them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)
        if architecture.has_discriminator:
            self.discriminator = Discriminator(architecture.num_latents)
        if architecture.num_conditions:
            self.conditioner = Conditioner(architecture)

    def encode(self, images: Tensor) -> Gaussian:
        """Images (B, C, 64, 64) to q(y, z | x), each (B, D)."""
        return Gaussian(*self.encoder(images).chunk(2, dim=1))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, D) to what `Decoder` gives, (B, C, 64, 64)."""
        return self.decoder(latents)

    def condition(self, labels: Tensor) -> Tensor:
        """Labels (B, |y|) to what they add to the nuisance's means and log-variances, (B, 2·|z|)."""
        return self.conditioner(labels)

    def discriminate(self, latents: Tensor, *, frozen: bool) -> Tensor:
        """Latents (B, D) to the discriminator's logits (B, 2). frozen: its parameters get no gradient."""
        if not frozen:
            return self.discriminator(latents)
        constants = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        return functional_call(self.discriminator, constants, (latents,))


def initialise(architecture: Architecture, seed: int) -> VariationalAutoencoder:
    """A freshly initialised model (PyTorch's defaults), the same for the same seed.

    PyTorch's initialisers draw from its global stream, so that is set aside meanwhile. Discriminator and
    conditioner come last: with them or without, encoder and decoder start from the same values.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(streams.generator(seed, Stream.INITIALISATION).integers(2**63)))
        return VariationalAutoencoder(architecture)
