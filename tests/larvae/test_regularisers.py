"""Regularisers beside the paper's three: their definitions, capacities, and settings of their own."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.distributions import Gaussian, kl_to_standard_normal
from larvae.errors import InvalidInputError
from larvae.objectives import Encoded
from larvae.regularisers import REGULARISERS, SETTINGS, annealing, computation
from larvae.training import Trainer

TINY = MemberConfig(batch_size=4, label_rate=0.001)


def some_posterior(num_images: int = 6, num_latents: int = 3) -> Gaussian:
    rng = np.random.default_rng(0)
    mean, log_variance = torch.from_numpy(rng.standard_normal((2, num_images, num_latents)))
    return Gaussian(mean.requires_grad_(), log_variance.requires_grad_())


def penalty(name: str, posterior: Gaussian, **settings: float) -> Tensor:
    """R_u of posteriors alone."""
    kl = kl_to_standard_normal(posterior)
    own = {setting: torch.tensor(value, dtype=torch.float64) for setting, value in settings.items()}
    nothing = (None,) * 4
    return computation(name)(Encoded(posterior, posterior.mean, kl, own, *nothing)).value  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dip_vae_i", "dip_vae_ii"])
def test_dip_is_the_weighted_distance_of_a_covariance_to_the_identity(name: str) -> None:
    """Entry by entry, as Kumar et al. (2018) write Eqs. 6 and 7: E[zzᵀ] − E[z]E[z]ᵀ, and with E[Σ] added."""
    posterior = some_posterior()
    mean, variance = (part.detach().numpy() for part in (posterior.mean, posterior.log_variance.exp()))
    expected = 0.0
    for i, j in itertools.product(range(3), repeat=2):
        entry = np.mean(mean[:, i] * mean[:, j]) - np.mean(mean[:, i]) * np.mean(mean[:, j])
        entry += np.mean(variance[:, i]) if name == "dip_vae_ii" and i == j else 0
        expected += 7 * (entry - 1) ** 2 if i == j else entry**2
    assert float(penalty(name, posterior, diagonal_weight=7.0).detach()) == pytest.approx(expected, rel=1e-12)


def test_dip_vanishes_for_the_prior_alone() -> None:
    """White posterior means for DIP-VAE-I; for DIP-VAE-II their variances must add up to 1."""
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    for name, spread in (("dip_vae_i", 1.0), ("dip_vae_ii", 0.6)):
        rest = 1 - spread**2 if name == "dip_vae_ii" else 0.3
        for scale, is_zero in ((1.0, True), (1.1, False)):
            posterior = Gaussian(spread * scale * corners, torch.full_like(corners, math.log(rest)))
            assert (abs(float(penalty(name, posterior, diagonal_weight=1.0))) < 1e-12) == is_zero


@pytest.mark.parametrize("name", ["dip_vae_i", "dip_vae_ii", "annealed_vae"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    settings = {"capacity": 2.0} if name == "annealed_vae" else {"diagonal_weight": 3.0}
    posterior = some_posterior()

    def value(mean: Tensor, log_variance: Tensor) -> Tensor:
        return penalty(name, Gaussian(mean, log_variance), **settings)

    assert torch.autograd.gradcheck(value, tuple(posterior))


def test_capacity_rises_from_zero_and_stays_and_the_loss_has_it_in_place_of_the_kl(dataset: Dataset) -> None:
    settings = {"capacity": 8.0, "capacity_iterations": 4.0}
    anneal = annealing("annealed_vae")
    assert [anneal(settings, iteration)["capacity"] for iteration in range(7)] == [0, 2, 4, 6, 8, 8, 8]
    own = tuple(settings.items())
    config = dataclasses.replace(TINY, regulariser="annealed_vae", gamma_tc=5.0, regulariser_settings=own)
    trainer = Trainer(config, dataset)
    for expected in (0, 2, 4, 6, 8, 8):
        row = trainer.train(1)
        assert row["capacity"] == expected
        gap = abs(row["kl"] - expected)
        terms = row["reconstruction"] + 5 * gap + row["label_loss"] + row["label_replacement_loss"]
        assert (row["capacity_gap"], row["loss"]) == pytest.approx((gap, terms), rel=1e-5)


# Settings of their own


def test_own_settings_name_a_member_where_they_are_used_and_nowhere_else() -> None:
    assert set(SETTINGS).isdisjoint(field.name for field in dataclasses.fields(MemberConfig))
    for name, regulariser in REGULARISERS.items():
        config = MemberConfig(regulariser=name)
        own = {setting.name: setting.default for setting in regulariser.settings}
        assert {key: value for key, value in config.to_dict().items() if key in SETTINGS} == own
        assert MemberConfig.from_dict(config.to_dict()) == config
        assert MemberConfig.from_dict({"regulariser": name} | own) == config  # the default is written, and hashed
        changed = [MemberConfig.from_dict(config.to_dict() | {setting: own[setting] + 1}) for setting in own]
        assert len({config.content_hash, *(other.content_hash for other in changed)}) == 1 + len(own)


@pytest.mark.parametrize(
    ("regulariser", "setting", "value", "rule"),
    [
        ("beta_tcvae", "capacity", 1.0, "`capacity` must be left out with the regulariser beta_tcvae"),
        ("annealed_vae", "capacity", -1.0, "`capacity` must be finite and >= 0, got -1.0"),
        ("annealed_vae", "capacity_iterations", 0, "`capacity_iterations` must be finite and > 0, got 0"),
        ("dip_vae_i", "diagonal_weight", math.inf, "`diagonal_weight` must be finite and >= 0, got inf"),
        ("dip_vae_i", "diagonal_weight", math.nan, "`diagonal_weight` must be finite and >= 0, got nan"),
    ],
)
def test_settings_that_break_a_rule_are_refused(regulariser: str, setting: str, value: float, rule: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        MemberConfig.from_dict({"regulariser": regulariser, setting: value})
    assert str(caught.value) == rule
