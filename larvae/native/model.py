"""A model whose convolutions and norms run in `blocks.cpp`: `networks` is the text to read, and what this is tested
against.

Between blocks, features are standardised but not yet cut by the ReLU: a block does that as it reads them, and its
gradient needs them as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

import larvae.native.operators  # noqa: F401  (defines them)
from larvae.fast_networks import FastModel
from larvae.networks import InstanceNormReLU, PatchConvTranspose2d

Convolution = nn.Conv2d | nn.ConvTranspose2d


class NativeModel(FastModel):
    """A model whose parameters are passed in, for the CPU; its architecture has instance norms.

    Images get no gradient: nothing in training asks for it.
    """

    def _run(self, part: str, features: Tensor, frozen: bool = False) -> Tensor:
        if part not in ("encoder", "decoder"):
            return super()._run(part, features, frozen)
        cut = True  # whether the ReLU has been applied
        for name, layer in self.skeleton.get_submodule(part).named_children():
            weights = {kind: self.parameters[f"{part}.{name}.{kind}"] for kind, _ in layer.named_parameters()}
            if isinstance(layer, PatchConvTranspose2d):
                features = _LaidPatches.apply(features, weights["weight"], not cut) + weights["bias"][:, None, None]
                cut = True
            elif isinstance(layer, Convolution):
                features = _Normed.apply(features, weights["weight"], not cut, isinstance(layer, nn.ConvTranspose2d))
                cut = False
            elif not isinstance(layer, InstanceNormReLU):
                features = features if cut else torch.relu(features)
                features = self.run_layer(layer, features, self.precision_of(part, name, layer), **weights)
                cut = True
        return features


class _Normed(Function):
    """The ReLU of features, if asked for, a convolution of stride 2 and its instance norm."""

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor, relu: bool, transposed: bool) -> Tensor:
        matrix = (scatter_matrix if transposed else gather_matrix)(weight, features.dtype)
        channels, kernel = weight.shape[1 if transposed else 0], weight.shape[3]
        result, scale = torch.ops.larvae.normed(features, matrix, channels, kernel, relu, transposed)
        context.save_for_backward(features, weight, result, scale)
        context.relu, context.transposed = relu, transposed
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        features, weight, result, scale = context.saved_tensors
        matrix = (gather_matrix if context.transposed else scatter_matrix)(weight, features.dtype)
        wanted = context.needs_input_grad[0]
        of_features, of_weight = torch.ops.larvae.block_gradients(
            gradients[0], features, matrix, result, scale, weight.shape[3], context.relu, context.transposed, wanted
        )
        return of_features if wanted else None, weight_of_gather_matrix(of_weight, weight), None, None


class _LaidPatches(Function):
    """The ReLU of features, if asked for, and a transposed 4×4 convolution to images (B, C, H, W) in float32."""

    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor, relu: bool) -> Tensor:
        context.save_for_backward(features, weight)
        context.relu = relu
        small, big = weight.shape[:2]
        matrix = words(weight.permute(0, 2, 3, 1).reshape(small, 16 * big), features.dtype)
        return torch.ops.larvae.laid_patches(features, matrix, big, relu)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        features, weight = context.saved_tensors
        matrix, gradient = gather_matrix(weight, features.dtype), gradients[0].permute(0, 2, 3, 1).to(features.dtype)
        of_features, of_weight = torch.ops.larvae.block_gradients(
            gradient, features, matrix, None, None, 4, context.relu, True, True
        )
        return of_features, weight_of_gather_matrix(of_weight, weight), None


def gather_matrix(weight: Tensor, precision: torch.dtype) -> Tensor:
    """Weights (small, big, k, k) for `gather`: [row of the kernel][column of it, big channel][small channel]."""
    small, big, kernel, _ = weight.shape
    return words(weight.permute(2, 3, 1, 0).reshape(kernel, kernel * big, small), precision)


def weight_of_gather_matrix(matrix: Tensor, weight: Tensor) -> Tensor:
    """The inverse of `gather_matrix`, in float32. weight: gives the shape."""
    small, big, kernel, _ = weight.shape
    return matrix.view(kernel, kernel, big, small).permute(3, 2, 0, 1).contiguous()


def scatter_matrix(weight: Tensor, precision: torch.dtype) -> Tensor:
    """Weights (small, big, k, k) for `scatter`: [parities of row and column][tap's row][its column, small][big].

    A big pixel is reached by every second row and column of the kernel, which ones depends on its parity. With
    padding, the last tap is the small image's first.
    """
    small, big, kernel, _ = weight.shape
    taps = weight.flip(2, 3) if kernel == 4 else weight
    taps = taps.reshape(small, big, kernel // 2, 2, kernel // 2, 2).permute(3, 5, 2, 4, 0, 1)
    return words(taps.reshape(4, kernel // 2, kernel // 2 * small, big), precision)


def words(matrix: Tensor, precision: torch.dtype) -> Tensor:
    """Rows (..., n, columns) as words: float32 as they are, bfloat16 in pairs of rows, (..., n/2, columns, 2)."""
    if precision == torch.float32:
        return matrix
    return matrix.to(precision).unflatten(-2, (-1, 2)).transpose(-1, -2).contiguous()
