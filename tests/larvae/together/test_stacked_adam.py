"""Stacked Adam is PyTorch's for each member, whatever the others do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from larvae.together.stacked_adam import Moments, Rates, adam_step, update


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_each_member_steps_as_with_pytorchs(betas: tuple[float, float]) -> None:
    """To 1e-6, with a learning rate and a count of steps of its own; one rests in between, beside gradients of nan."""
    generator = torch.Generator().manual_seed(0)
    rates = [1e-4, 1e-2, 3e-3]
    start = torch.randn((3, 5, 7), generator=generator)
    theirs = [value.clone().requires_grad_() for value in start]
    optimisers = [torch.optim.Adam([p], lr=rate, betas=betas) for p, rate in zip(theirs, rates, strict=True)]
    ours = start.clone()
    moments = Moments(torch.zeros_like(ours), torch.zeros_like(ours), torch.zeros(3))
    ours_rates = Rates(torch.tensor(rates, dtype=torch.float64), betas)
    for step in range(50):
        gradient = torch.randn(ours.shape, generator=generator) * 10.0 ** (step % 5 - 3)
        is_active = torch.tensor([True, step % 3 > 0, step < 20])
        gradient[~is_active] = torch.nan
        adam_step(ours, gradient, moments, ours_rates, is_active)
        for member in is_active.nonzero().flatten().tolist():
            theirs[member].grad = gradient[member].clone()
            optimisers[member].step()
    assert moments.steps.tolist() == [50, 33, 20]
    for member in range(3):
        assert float((ours[member] - theirs[member].detach()).abs().max()) <= 1e-6
        state = optimisers[member].state[theirs[member]]
        assert torch.allclose(moments.first[member], state["exp_avg"], rtol=1e-5, atol=1e-9)
        assert torch.allclose(moments.second[member], state["exp_avg_sq"], rtol=1e-5, atol=1e-9)


def test_terms_are_added_up_for_active_members_alone() -> None:
    sums: dict[str, Tensor] = {"loss": torch.tensor([1.0, 1.0]), "kl": torch.zeros(2)}
    terms = {"loss": torch.tensor([2.0, torch.nan]), "kl": torch.tensor([3.0, 4.0])}
    update({}, {}, {}, {}, terms, sums, torch.tensor([True, False]))
    assert {name: total.tolist() for name, total in sums.items()} == {"loss": [3.0, 1.0], "kl": [3.0, 0.0]}
