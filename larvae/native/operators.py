"""The compiled functions of `blocks.cpp` as operators of PyTorch, which `torch.compile` calls as they are.

A block is a convolution of stride 2, transposed or not, of a kernel 4×4 with padding 1 or 2×2 without, and the
instance norm after it. Features are (B, height, width, channels), all float32 or all bfloat16. Operators have no
gradients of their own and take weights as matrices: `larvae.native.model` gives them both.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from larvae.native.library import library

torch.library.define(
    "larvae::normed",
    "(Tensor features, Tensor matrix, int channels, int kernel, bool relu, bool transposed) -> (Tensor, Tensor)",
)
torch.library.define(
    "larvae::block_gradients",
    "(Tensor gradient, Tensor features, Tensor matrix, Tensor? standardised, Tensor? scale, "
    "int kernel, bool relu, bool transposed, bool of_features) -> (Tensor, Tensor)",
)
torch.library.define("larvae::laid_patches", "(Tensor features, Tensor matrix, int channels, bool relu) -> Tensor")


NORMED_CHANNELS = (32, 64)
"""Numbers of channels that `blocks.cpp` has norms for: Table D.2's."""


class Shape(ctypes.Structure):
    """`Shape` of `convolution.h`; height and width are of the small image."""

    _fields_ = tuple((name, ctypes.c_int) for name in ("height", "width", "big_channels", "small_channels", "padding"))


@torch.library.register_fake("larvae::normed")  # type: ignore[untyped-decorator]
def _(features: Tensor, matrix: Tensor, channels: int, kernel: int, relu: bool, transposed: bool) -> list[Tensor]:
    """Standardised results, (B, height, width, channels), and each channel's 1 / √(variance + ε), (B, channels).

    matrix: of `scatter` where transposed, else of `gather`. relu: of the features, first.
    """
    return _empty_results(features, channels, transposed)


@torch.library.impl("larvae::normed", "CPU")
def _(features: Tensor, matrix: Tensor, channels: int, kernel: int, relu: bool, transposed: bool) -> list[Tensor]:
    if channels not in NORMED_CHANNELS:
        raise ValueError(f"`channels` before a norm must be one of {NORMED_CHANNELS}, got {channels}")
    features = features.contiguous()
    results = _empty_results(features, channels, transposed)
    shape = _shape(features, results[0], kernel, transposed)
    _call("normed", features, shape, relu, transposed, features, *results, matrix.contiguous())
    return results


@torch.library.register_fake("larvae::block_gradients")  # type: ignore[untyped-decorator]
def _(
    gradient: Tensor,
    features: Tensor,
    matrix: Tensor,
    standardised: Tensor | None,
    scale: Tensor | None,
    kernel: int,
    relu: bool,
    transposed: bool,
    of_features: bool,
) -> list[Tensor]:
    """Gradients of the features, empty unless asked for, and of the weights, as a matrix of `gather`, float32.

    matrix: of `gather` where transposed, else of `scatter`. standardised, scale: of `normed`; None without a norm.
    """
    return _empty_gradients(gradient, features, kernel, transposed, of_features)


@torch.library.impl("larvae::block_gradients", "CPU")
def _(
    gradient: Tensor,
    features: Tensor,
    matrix: Tensor,
    standardised: Tensor | None,
    scale: Tensor | None,
    kernel: int,
    relu: bool,
    transposed: bool,
    of_features: bool,
) -> list[Tensor]:
    features, gradient = features.contiguous(), gradient.contiguous()
    results = _empty_gradients(gradient, features, kernel, transposed, of_features)
    shape = _shape(features, gradient, kernel, transposed)
    inputs = (features, standardised, scale, matrix.contiguous(), gradient)
    _call("gradients", features, shape, relu, transposed, *inputs, results[0] if of_features else None, results[1])
    return results


@torch.library.register_fake("larvae::laid_patches")  # type: ignore[untyped-decorator]
def _(features: Tensor, matrix: Tensor, channels: int, relu: bool) -> Tensor:
    """A transposed 4×4 convolution to few channels, (B, channels, 2·height, 2·width), float32.

    matrix: small channels in words times patches, (row of the kernel, column of it, channel).
    """
    batch, height, width, _ = features.shape
    return features.new_empty(batch, channels, 2 * height, 2 * width, dtype=torch.float32)


@torch.library.impl("larvae::laid_patches", "CPU")
def _(features: Tensor, matrix: Tensor, channels: int, relu: bool) -> Tensor:
    features = features.contiguous()
    batch, height, width, _ = features.shape
    images = torch.empty(batch, channels, 2 * height, 2 * width)
    shape = _shape(features, images.permute(0, 2, 3, 1), kernel=4, transposed=True)
    _call("laid_patches", features, shape, relu, features, matrix.contiguous(), images)
    return images


def _empty_results(features: Tensor, channels: int, transposed: bool) -> list[Tensor]:
    batch, height, width, _ = features.shape
    size = (2 * height, 2 * width) if transposed else (height // 2, width // 2)
    return [
        features.new_empty(batch, *size, channels),
        features.new_empty(batch, channels, dtype=torch.float32),
    ]


def _empty_gradients(
    gradient: Tensor, features: Tensor, kernel: int, transposed: bool, of_features: bool
) -> list[Tensor]:
    big, small = (gradient, features) if transposed else (features, gradient)
    weights = (kernel, kernel * big.shape[-1], small.shape[-1])
    return [
        features.new_empty(features.shape if of_features else 0),
        features.new_empty(weights, dtype=torch.float32),
    ]


def _shape(features: Tensor, result: Tensor, kernel: int, transposed: bool) -> Shape:
    big, small = (result, features) if transposed else (features, result)
    return Shape(small.shape[1], small.shape[2], big.shape[3], small.shape[3], kernel // 2 - 1)


def _call(name: str, features: Tensor, shape: Shape, *arguments: Tensor | bool | None) -> None:
    """Call a compiled function of the features' precision; tensors go as pointers to contiguous memory."""
    compiled = library()
    assert compiled is not None, "no C++ compiler: `library.is_faster` tells beforehand"
    precision = str(features.dtype).removeprefix("torch.")
    plain = [a if isinstance(a, bool) else ctypes.c_void_p(None if a is None else a.data_ptr()) for a in arguments]
    threads = min(torch.get_num_threads(), len(features))
    getattr(compiled, f"{name}_{precision}")(shape, len(features), threads, *plain)
