"""The layers of `networks` run another way: channels last, in bfloat16 or float32, for `torch.compile` to fuse.

Same parameters, same functions; `networks` is the text to read, and what this is tested against. Between
convolutions, features are (B, H, W, channels) in the chosen precision. What touches latents, logits or
statistics stays in float32, and so do the parameters: they are cast where they are used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from larvae.distributions import Gaussian
from larvae.networks import EPSILON, InstanceNormReLU, PatchConv2d, PatchConvTranspose2d, VariationalAutoencoder


class FastModel:
    """A model whose parameters are passed in, as the objective wants it (`objectives.Model`)."""

    def __init__(
        self,
        skeleton: VariationalAutoencoder,
        parameters: Mapping[str, Tensor],
        precision: torch.dtype,
        *,
        products: bool = False,
    ) -> None:
        """skeleton: gives the layers, not the values. parameters: by their names in it.

        products: no convolution, only matrix products, for `torch.func.vmap` to run many members in each.
        """
        self.skeleton = skeleton
        self.parameters = parameters
        self.precision = precision
        self.run_layer = run_layer_as_product if products else run_layer

    def encode(self, images: Tensor) -> Gaussian:
        """Encode images as `VariationalAutoencoder.encode` does."""
        return Gaussian(*self._run("encoder", images.permute(0, 2, 3, 1).to(self.precision)).chunk(2, dim=1))

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents as `VariationalAutoencoder.decode` does."""
        return self._run("decoder", latents)

    def condition(self, labels: Tensor) -> Tensor:
        """Condition on labels as `VariationalAutoencoder.condition` does."""
        return self._run("conditioner", labels)

    def discriminate(self, latents: Tensor, *, frozen: bool) -> Tensor:
        """Discriminate latents as `VariationalAutoencoder.discriminate` does."""
        return self._run("discriminator", latents, frozen)

    def _run(self, part: str, features: Tensor, frozen: bool = False) -> Tensor:
        for name, layer in self.skeleton.get_submodule(part).named_children():
            weights = {kind: self.parameters[f"{part}.{name}.{kind}"] for kind, _ in layer.named_parameters()}
            if frozen:
                weights = {kind: weight.detach() for kind, weight in weights.items()}
            features = self.run_layer(layer, features, self.precision_of(part, name, layer), **weights)
        return features

    def precision_of(self, part: str, name: str, layer: nn.Module) -> torch.dtype:
        """The precision of a layer: float32 where a linear one reads or gives latents, at an end of its network."""
        names = [name for name, _ in self.skeleton.get_submodule(part).named_children()]
        at_an_end = name in (names[0], names[-1])
        return torch.float32 if isinstance(layer, nn.Linear) and at_an_end else self.precision


@functools.singledispatch
def run_layer(layer: nn.Module, features: Tensor, precision: torch.dtype, **weights: Tensor) -> Tensor:
    """A layer's result. Layers without a faster form, such as ReLU, run as they are."""
    return layer(features)


@run_layer.register
def _(
    layer: nn.Linear, features: Tensor, precision: torch.dtype, *, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    return F.linear(features.to(precision), weight.to(precision), None if bias is None else bias.to(precision))


@run_layer.register
def _(layer: nn.Flatten, features: Tensor, precision: torch.dtype) -> Tensor:
    return features.permute(0, 3, 1, 2).flatten(1)


@run_layer.register
def _(layer: nn.Unflatten, features: Tensor, precision: torch.dtype) -> Tensor:
    return layer(features).permute(0, 2, 3, 1).contiguous()


@run_layer.register
def _(layer: InstanceNormReLU, features: Tensor, precision: torch.dtype) -> Tensor:
    return _NormReLU.apply(features)


@run_layer.register
def _(
    layer: nn.Conv2d, features: Tensor, precision: torch.dtype, *, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    if layer.kernel_size == layer.stride:
        return convolution_as_product(layer, features, precision, weight=weight, bias=bias)
    channels_last = weight.to(precision).contiguous(memory_format=torch.channels_last)
    result = F.conv2d(features.permute(0, 3, 1, 2), channels_last, None, layer.stride, layer.padding)
    return _biased(result.permute(0, 2, 3, 1), bias)


@run_layer.register
def _(
    layer: nn.ConvTranspose2d, features: Tensor, precision: torch.dtype, *, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    channels_last = weight.to(precision).contiguous(memory_format=torch.channels_last)
    result = F.conv_transpose2d(features.permute(0, 3, 1, 2), channels_last, None, stride=2, padding=1)
    return _biased(result.permute(0, 2, 3, 1), bias)


@run_layer.register
def _(layer: PatchConvTranspose2d, features: Tensor, precision: torch.dtype, *, weight: Tensor, bias: Tensor) -> Tensor:
    return _LayPatches.apply(features, weight.to(precision)) + bias[:, None, None]


@functools.singledispatch
def run_layer_as_product(layer: nn.Module, features: Tensor, precision: torch.dtype, **weights: Tensor) -> Tensor:
    """Run a layer as `run_layer` does, by operations that `torch.func.vmap` batches well."""
    return run_layer(layer, features, precision, **weights)


@run_layer_as_product.register
def _(layer: InstanceNormReLU, features: Tensor, precision: torch.dtype) -> Tensor:
    pixels = features.float()
    centred = pixels - pixels.mean((1, 2), keepdim=True)
    variance = centred.square().mean((1, 2), keepdim=True)
    return torch.relu(centred * torch.rsqrt(variance + EPSILON)).to(precision)


@run_layer.register(PatchConv2d)
@run_layer_as_product.register(nn.Conv2d)
def convolution_as_product(
    layer: nn.Conv2d, features: Tensor, precision: torch.dtype, *, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """A convolution's patches times its weights; patches that do not overlap are a matter of indexing."""
    if layer.kernel_size == layer.stride:
        return _biased(_cells(features) @ weight.permute(2, 3, 1, 0).flatten(0, 2).to(precision), bias)
    return _biased(_patches(features) @ _patch_rows(weight).to(precision), bias)


@run_layer_as_product.register
def _(
    layer: nn.ConvTranspose2d, features: Tensor, precision: torch.dtype, *, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    return _biased(_laid_patches(features @ _patch_rows(weight).T.to(precision)), bias)


@run_layer_as_product.register
def _(layer: PatchConvTranspose2d, features: Tensor, precision: torch.dtype, *, weight: Tensor, bias: Tensor) -> Tensor:
    pixels = _laid_patches((features @ _patch_rows(weight).T.to(precision)).float()) + bias
    return pixels.permute(0, 3, 1, 2)


class _NormReLU(Function):
    """`InstanceNormReLU` that keeps its input and each channel's statistics, and no more, for its gradient."""

    @staticmethod
    def forward(context: Any, features: Tensor) -> Tensor:
        pixels = features.flatten(1, 2).float()  # (B, H·W, channels)
        mean = pixels.mean(1, keepdim=True)
        scale = torch.rsqrt((pixels - mean).square().mean(1, keepdim=True) + EPSILON)
        context.save_for_backward(features, mean, scale)
        return torch.relu((pixels - mean) * scale).to(features.dtype).view_as(features)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        features, mean, scale = context.saved_tensors
        standardised = (features.flatten(1, 2).float() - mean) * scale
        gradient = torch.where(standardised > 0, gradients[0].flatten(1, 2).float(), 0.0)
        slope = (gradient * standardised).mean(1, keepdim=True)
        gradient = scale * (gradient - gradient.mean(1, keepdim=True) - standardised * slope)
        return gradient.to(features.dtype).view_as(features)


class _LayPatches(Function):
    """A transposed 4×4 convolution of stride 2 and padding 1 from channels last to float32 images."""

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(features, weight)
        patches = (features @ weight.flatten(1)).flatten(1, 2).transpose(1, 2)  # (B, 16·C, H·W)
        size = (2 * features.shape[1], 2 * features.shape[2])
        return F.fold(patches.float(), size, kernel_size=4, padding=1, stride=2)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        features, weight = context.saved_tensors
        patches = _patches(gradients[0].permute(0, 2, 3, 1).to(features.dtype))
        rows = patches.flatten(0, 2).T @ features.flatten(0, 2)
        return patches @ _patch_rows(weight), _weight_of_rows(rows)


def _biased(features: Tensor, bias: Tensor | None) -> Tensor:
    """Features (B, H, W, channels) with a bias for each channel, if there is one."""
    return features if bias is None else features + bias.to(features.dtype)


def _cells(features: Tensor) -> Tensor:
    """2×2 cells of pixels as channels: (B, H, W, C) to (B, H/2, W/2, 4·C), a cell's pixels row by row."""
    batch, height, width, channels = features.shape
    cells = features.view(batch, height // 2, 2, width // 2, 2, channels).transpose(2, 3)
    return cells.reshape(batch, height // 2, width // 2, 4 * channels)


def _patches(features: Tensor) -> Tensor:
    """The 4×4 patches that a convolution of stride 2 and padding 1 sees, as four cells: (B, H/2, W/2, 16·C)."""
    cells = _cells(F.pad(features, (0, 0, 1, 1, 1, 1)))
    return torch.cat([cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]], dim=3)


def _laid_patches(patches: Tensor) -> Tensor:
    """The transpose of `_patches`: patches (B, H, W, 16·C) added up where they overlap, (B, 2·H, 2·W, C)."""
    top_left, top_right, bottom_left, bottom_right = patches.chunk(4, dim=3)
    cells = (
        F.pad(top_left, (0, 0, 0, 1, 0, 1))
        + F.pad(top_right, (0, 0, 1, 0, 0, 1))
        + F.pad(bottom_left, (0, 0, 0, 1, 1, 0))
        + F.pad(bottom_right, (0, 0, 1, 0, 1, 0))
    )  # (B, H + 1, W + 1, 4·C)
    batch, height, width, channels = cells.shape
    pixels = cells.view(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
    return pixels.reshape(batch, 2 * height, 2 * width, channels // 4)[:, 1:-1, 1:-1]


def _patch_rows(weight: Tensor) -> Tensor:
    """Weights (out, C, 4, 4) as a matrix (16·C, out) with rows in the order of `_patches`."""
    out, channels = weight.shape[:2]
    cells = weight.view(out, channels, 2, 2, 2, 2)  # [out, channel, cell's row, row in it, cell's column, column in it]
    return cells.permute(2, 4, 3, 5, 1, 0).reshape(16 * channels, out)


def _weight_of_rows(rows: Tensor) -> Tensor:
    """The inverse of `_patch_rows`."""
    channels, out = rows.shape[0] // 16, rows.shape[1]
    cells = rows.view(2, 2, 2, 2, channels, out)  # [cell's row, cell's column, row in it, column in it, channel, out]
    return cells.permute(5, 4, 0, 2, 1, 3).reshape(out, channels, 4, 4)
