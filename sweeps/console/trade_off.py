"""The paper's own weights, γ and λ of Eqs. 5 and 6, in place of α, τ and γ_tc of Eq. 7, on command lines alone.

A member is named by α, τ and γ_tc: the map is not one-to-one where γ_tc is free, and only they train it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.regularisers import REGULARISERS


class TradeOff(NamedTuple):
    """γ, the weight of labelled images, and λ, the share of it that encodes labels rather than decodes them."""

    gamma: float
    share: float
    """λ"""

    def weights(self, gamma_tc: float, label_variance: float) -> dict[str, float]:
        """α, τ and γ_tc of Eq. 7 as A.14 has them, α in units of a label's squared error.

        gamma_tc: the paper's, before A.14 divides by 1 + λγ. label_variance: σ_y²; 0, where it is learned, counts as ½.
        """
        whole = 1 + self.share * self.gamma
        return {
            "alpha": self.share * self.gamma / whole / (2 * (label_variance or 0.5)),
            "tau": (1 - self.share) * self.gamma / whole,
            "gamma_tc": gamma_tc / whole,
        }


def with_weights(
    model: Mapping[str, Any],
    usual: Mapping[str, Any],
    varied: Mapping[str, Any],
    gamma: float | None,
    share: float | None,
) -> Mapping[str, Any]:
    """A command line's fields of MemberConfig with α, τ and γ_tc from γ and λ, where these are given; told in a line.

    usual: the fields where nothing is given. varied: those that the sweep varies. Raises InvalidInputError.
    """
    if gamma is None and share is None:
        return model
    if gamma is None or share is None:
        given, missing = ("gamma", "lambda") if share is None else ("lambda", "gamma")
        raise InvalidInputError(f"`{missing}` must be given with `{given}`, got `{given}` alone")
    if not (gamma >= 0 and math.isfinite(gamma)):
        raise InvalidInputError(f"`gamma` must be finite and >= 0, got {gamma}")
    if not 0 <= share <= 1:
        raise InvalidInputError(f"`lambda` must lie in [0, 1], got {share}")
    defaults = {**MemberConfig().to_dict(), **usual}
    for name in ("alpha", "tau"):
        if name in varied or model[name] != defaults[name]:
            got = "swept" if name in varied else f"{model[name]:g}"
            raise InvalidInputError(
                f"`{name}` must be left out with `gamma` and `lambda`, from which it follows, got {got}"
            )
    if "gamma_tc" in varied or "regulariser" in varied or "label_variance" in varied:
        raise InvalidInputError("`gamma` must be left out where gamma_tc, regulariser or label_variance is swept")
    gamma_tc = model.get("gamma_tc")
    gamma_tc = REGULARISERS[model["regulariser"]].default_weight if gamma_tc is None else gamma_tc
    weights = TradeOff(gamma, share).weights(gamma_tc, model["label_variance"])
    told = ", ".join(
        f"{symbol} = {weights[name]:.4g}" for symbol, name in (("α", "alpha"), ("τ", "tau"), ("γ_tc", "gamma_tc"))
    )
    print(f"γ = {gamma:g}, λ = {share:g}: {told}. However large γ, α stays below 1/(2σ_y²) and τ below (1 − λ)/λ.")
    return {**model, **weights}
