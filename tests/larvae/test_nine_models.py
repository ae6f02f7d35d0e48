"""The nine models: β-VAE, β-TCVAE and FactorVAE, each unsupervised, as semi-supervised baseline and as LaRVAE."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.evaluation import evaluate
from larvae.training import Trainer

REGULARISER_TERMS = {
    "beta_vae": set(),
    "beta_tcvae": {"total_correlation"},
    "factor_vae": {"total_correlation", "discriminator_loss"},
}
SUPERVISION = {
    "unsupervised": ({"alpha": 0.0, "tau": 0.0}, set()),
    "baseline": ({"tau": 0.0}, {"label_loss"}),
    "larvae": ({}, {"label_loss", "label_replacement_loss", "replacement_reconstruction", "replacement_kl"}),
}
"""Weights of each kind of supervision, and the terms that it adds."""

MODELS = {
    f"{regulariser} {supervision}": (
        MemberConfig(regulariser=regulariser, **weights),
        {"loss", "reconstruction", "kl"} | REGULARISER_TERMS[regulariser] | terms,
    )
    for regulariser, (supervision, (weights, terms)) in itertools.product(REGULARISER_TERMS, SUPERVISION.items())
}
"""Configuration and terms of each, by name."""
each_model = pytest.mark.parametrize(("config", "terms"), MODELS.values(), ids=MODELS.keys())


def tiny(config: MemberConfig) -> MemberConfig:
    return dataclasses.replace(config, batch_size=4, label_rate=0.001, learning_rate=1e-3)


@each_model
def test_each_model_moves_every_parameter_by_its_own_terms(
    dataset: Dataset, config: MemberConfig, terms: set[str]
) -> None:
    """Its loss is the weighted sum of these, and its codes are evaluated as any other's."""
    trainer = Trainer(tiny(config), dataset)
    before = {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}
    values = trainer.train(1)
    assert values.keys() == terms
    regulariser = values.get("total_correlation", values["kl"])
    expected = (
        values["reconstruction"]
        + values["kl"]
        + config.gamma_tc * regulariser
        + config.alpha * values.get("label_loss", 0)
        + config.tau * values.get("label_replacement_loss", 0)
    )
    assert values["loss"] == pytest.approx(expected, rel=1e-5)
    assert [name for name, parameter in trainer.parameters.items() if torch.equal(parameter, before[name])] == []
    assert any(name.startswith("discriminator.") for name in before) == ("discriminator_loss" in terms)
    metrics = evaluate(trainer, 40, ["mig", "l2"])
    assert {"mig", "mig_y", "mig_aligned", "l2", "rmse_shape"} <= metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values())


def test_models_of_a_seed_start_alike(dataset: Dataset) -> None:
    """Encoder and decoder, and what they see first: differences are the objective's."""
    starts = [Trainer(tiny(config), dataset) for config, _ in MODELS.values()]
    assert len({start.config.content_hash for start in starts}) == 9
    images = starts[0].inputs(0)[0].images
    for trainer in starts[1:]:
        assert torch.equal(trainer.inputs(0)[0].images, images)
        for name, parameter in starts[0].parameters.items():
            if not name.startswith("discriminator."):
                assert torch.equal(trainer.parameters[name], parameter)


LARVAE_TERMS = {"loss", "reconstruction", "kl", "total_correlation"} | SUPERVISION["larvae"][1]
CONDITIONAL = {"graphical_model": "conditional", "regulariser": "beta_vae", "tau": 0.0}
FORMS = {
    "inferred label": {"replacement": "inferred"},
    "detached nuisance": {"detach_nuisance": True},
    "no nuisance": {"z_dim": 0},
    "fixed variances": {"label_variance": 0.5, "nuisance_variance": 0.5},
    "cross-entropy": {"label_loss": "cross_entropy"},
    "labels in [0, 1]": {"label_scaling": "unit"},
    "conditional": CONDITIONAL,
}
"""Other forms of LaRVAE, and the conditional model of Fig. 1a."""
each_form = pytest.mark.parametrize("fields", FORMS.values(), ids=FORMS.keys())


def terms_of(fields: dict[str, Any]) -> set[str]:
    return MODELS["beta_vae baseline"][1] if fields == CONDITIONAL else LARVAE_TERMS


@each_form
def test_each_form_has_its_terms_and_is_evaluated_as_any_other(dataset: Dataset, fields: dict[str, Any]) -> None:
    trainer = Trainer(tiny(MemberConfig(**fields)), dataset)
    assert trainer.train(2).keys() == terms_of(fields)
    metrics = evaluate(trainer, 40, ["mig", "l2"])
    assert all(math.isfinite(value) for value in metrics.values())
    assert 0 <= metrics["l2"] < math.sqrt(5)


@pytest.mark.slow
@each_form
def test_500_iterations_lower_the_loss_of_each_form(dataset: Dataset, fields: dict[str, Any]) -> None:
    assert_falls(MemberConfig(**fields), dataset, terms_of(fields))


@pytest.mark.slow
@each_model
def test_500_iterations_on_dsprites_lower_the_loss(dataset: Dataset, config: MemberConfig, terms: set[str]) -> None:
    assert_falls(config, dataset, terms)


def assert_falls(config: MemberConfig, dataset: Dataset, terms: set[str]) -> None:
    trainer = Trainer(config, dataset)
    rows = [trainer.train(1) for _ in range(500)]
    assert all(row.keys() == terms for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-50:]) < np.mean(losses[50:100])
