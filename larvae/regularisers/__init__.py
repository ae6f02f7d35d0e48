"""Regularisers R_u of Eq. 1: one record each, with all that is known before anything is computed.

The computation is `penalty(encoded)` of the module of the regulariser's name, loaded when it is first used. Where a
weight of its own changes while a member trains, `anneal(settings, iteration)` of that module gives the weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from larvae.objectives import Penalise

Anneal = Callable[[Mapping[str, float], int], dict[str, float]]
"""Settings and the iteration to the weights of that iteration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A number that one regulariser alone has: a field of its members' configuration, and an option."""

    name: str
    default: float
    description: str
    is_positive: bool = False
    """True if it must be > 0, else it must be >= 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Regulariser:
    """A regulariser, before it is computed."""

    name: str
    """Name on the command line, and of the module that computes it."""
    label: str
    """Name for people, of the model that has it."""
    description: str
    """The term, in a few words."""
    default_weight: float
    """γ_tc where none is given."""
    settings: tuple[Setting, ...] = ()
    """Its own settings: weights, which are tensors in its computation."""
    replaces_kl: bool = False
    """True if the ELBO's KL is left out: the penalty has it already."""
    has_discriminator: bool = False
    """True if it trains a discriminator of latents, on a second batch of images, beside the model."""
    anneals: bool = False
    """True if its weights change while a member trains."""


def _diagonal(default: float) -> Setting:
    description = "Weight of the covariance's diagonal, in weights γ_tc of the rest."
    return Setting(name="diagonal_weight", default=default, description=description)


REGULARISERS = {
    regulariser.name: regulariser
    for regulariser in (
        Regulariser(name="beta_vae", label="β-VAE", description="the KL once more: γ_tc = β − 1", default_weight=3.0),
        Regulariser(
            name="beta_tcvae",
            label="β-TCVAE",
            description="total correlation, estimated within the batch: γ_tc = β − 1",
            default_weight=4.0,
        ),
        Regulariser(
            name="factor_vae",
            label="FactorVAE",
            description="total correlation, estimated by a discriminator",
            default_weight=10.0,
            has_discriminator=True,
        ),
        Regulariser(
            name="dip_vae_i",
            label="DIP-VAE-I",
            description="the posterior means' covariance less the identity",
            default_weight=10.0,
            settings=(_diagonal(10.0),),
        ),
        Regulariser(
            name="dip_vae_ii",
            label="DIP-VAE-II",
            description="the aggregate posterior's covariance less the identity",
            default_weight=10.0,
            settings=(_diagonal(1.0),),
        ),
        Regulariser(
            name="annealed_vae",
            label="AnnealedVAE",
            description="distance of the KL, in its place, to a capacity that rises",
            default_weight=1000.0,
            settings=(
                Setting(name="capacity", default=25.0, description="Nats of KL at the end of the rise."),
                Setting(
                    name="capacity_iterations",
                    default=100_000.0,
                    description="Iterations of the rise, from 0 nats.",
                    is_positive=True,
                ),
            ),
            replaces_kl=True,
            anneals=True,
        ),
    )
}
"""All regularisers by name, the paper's first; weights and settings within what disentanglement_lib has studied."""
SETTINGS = tuple(dict.fromkeys(setting.name for known in REGULARISERS.values() for setting in known.settings))
"""Names of all settings of regularisers' own."""


def of_weight(name: str, weight: float) -> Regulariser | None:
    """The regulariser of a member with this weight γ_tc; None where that is 0."""
    return REGULARISERS[name] if weight > 0 else None


def computation(name: str) -> Penalise:
    """The function that computes a regulariser."""
    penalty: Penalise = importlib.import_module(f"{__name__}.{name}").penalty
    return penalty


def annealing(name: str) -> Anneal:
    """The function that computes the weights of an iteration, of a regulariser that anneals."""
    anneal: Anneal = importlib.import_module(f"{__name__}.{name}").anneal
    return anneal
