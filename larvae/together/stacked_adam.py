"""Adam (Kingma and Ba, 2015) of stacked members: each with its own learning rate and count of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-8  # PyTorch's


class Moments(NamedTuple):
    """Adam's state of one stacked parameter (K, …)."""

    first: Tensor
    """Running mean of its gradient, (K, …)."""
    second: Tensor
    """Running mean of the gradient's square, (K, …)."""
    steps: Tensor
    """Steps taken, (K,), float32 as PyTorch has them."""


class Rates(NamedTuple):
    """Adam's settings of one stacked parameter."""

    learning_rates: Tensor
    """(K,), float64"""
    betas: tuple[float, float]


def adam_step(parameter: Tensor, gradient: Tensor, moments: Moments, rates: Rates, is_active: Tensor) -> None:
    """One step in place, of active members alone; the others' gradients may be what they like.

    parameter, gradient: (K, …). is_active: (K,), bool. It is `torch.optim.Adam`'s step but for the order of its
    arithmetic: both agree to 1e-6.
    """
    shape = (-1,) + (1,) * (parameter.dim() - 1)
    steps = moments.steps + is_active
    corrections = [1 - beta ** steps.double() for beta in rates.betas]
    step_size = (rates.learning_rates / corrections[0]).float().view(shape)
    root = corrections[1].sqrt().float().view(shape)
    first = torch.lerp(moments.first, gradient, 1 - rates.betas[0])
    second = moments.second * rates.betas[1] + gradient * gradient * (1 - rates.betas[1])
    moved = parameter - step_size * first / (second.sqrt() / root + _EPSILON)
    for old, new in ((moments.first, first), (moments.second, second), (parameter, moved)):
        old.copy_(torch.where(is_active.view(shape), new, old))
    moments.steps.copy_(steps)


def update(
    parameters: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    moments: Mapping[str, Moments],
    rates: Mapping[str, Rates],
    terms: Mapping[str, Tensor],
    sums: Mapping[str, Tensor],
    is_active: Tensor,
) -> None:
    """The rest of a group's step, in place: Adam's steps of all parameters, and terms (K,) added to their sums (K,)."""
    for name, parameter in parameters.items():
        adam_step(parameter, gradients[name], moments[name], rates[name], is_active)
    for name, total in sums.items():
        total.add_(torch.where(is_active, terms[name], 0))
