"""γ and λ of the paper on command lines: the map to α and τ, and what contradicts it."""

from __future__ import annotations

import re

import pytest

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.console.trade_off import TradeOff, with_weights

MODEL = MemberConfig().to_dict()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0, 50.0])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_map_is_that_of_a_14_and_stays_within_its_limits(gamma: float, share: float) -> None:
    """γ = (α + τ)/(1 − α) and λ = α/(α + τ) go back."""
    weights = TradeOff(gamma, share).weights(gamma_tc=4.0, label_variance=0.0)
    alpha, tau = weights["alpha"], weights["tau"]
    assert 0 <= alpha < 1
    assert (alpha + tau) / (1 - alpha) == pytest.approx(gamma)
    if gamma:
        assert alpha / (alpha + tau) == pytest.approx(share)
    assert weights["gamma_tc"] * (1 + share * gamma) == pytest.approx(4.0)
    assert share == 0 or tau <= (1 - share) / share
    other = TradeOff(gamma, share).weights(gamma_tc=4.0, label_variance=0.125)
    assert other["alpha"] == pytest.approx(4 * alpha)  # 1/(2σ²)
    assert (other["tau"], other["gamma_tc"]) == (tau, weights["gamma_tc"])


def test_the_fields_are_replaced_and_the_map_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert with_weights(MODEL, {}, {}, None, None) is MODEL
    changed = with_weights(MODEL, {}, {}, 2.0, 0.5)
    assert {name for name in MODEL if MODEL[name] != changed[name]} == {"alpha", "tau", "gamma_tc"}
    assert (changed["alpha"], changed["tau"], changed["gamma_tc"]) == (0.5, 0.5, 2.0)
    printed = capsys.readouterr().out
    assert printed.startswith("γ = 2, λ = 0.5: α = 0.5, τ = 0.5, γ_tc = 2.")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "varied", "gamma", "share", "rule"),
    [
        ({}, {}, 2.0, None, "`lambda` must be given with `gamma`, got `gamma` alone"),
        ({}, {}, None, 0.5, "`gamma` must be given with `lambda`, got `lambda` alone"),
        ({}, {}, -1.0, 0.5, "`gamma` must be finite and >= 0, got -1.0"),
        ({}, {}, 1.0, 1.5, "`lambda` must lie in [0, 1], got 1.5"),
        (
            {"alpha": 8.0},
            {},
            1.0,
            0.5,
            "`alpha` must be left out with `gamma` and `lambda`, from which it follows, got 8",
        ),
        (
            {},
            {"tau": (0, 1)},
            1.0,
            0.5,
            "`tau` must be left out with `gamma` and `lambda`, from which it follows, got swept",
        ),
        ({}, {"gamma_tc": (1, 2)}, 1.0, 0.5, "`gamma` must be left out where gamma_tc, regulariser or label_variance"),
    ],
)
def test_contradictions_are_one_line(
    model: dict[str, float], varied: dict[str, object], gamma: float | None, share: float | None, rule: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(rule)}"):
        with_weights(MODEL | model, {}, varied, gamma, share)
