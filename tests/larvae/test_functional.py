"""Which step runs where, and what members share of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from larvae import functional
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.functional import fast_precision, functions, structure_of
from larvae.training import ENCODING_BATCH, Trainer

TINY = MemberConfig(batch_size=4, label_rate=0.001)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),  # another architecture
    ],
)
def test_bfloat16_is_for_processors_that_multiply_in_it(
    capabilities: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fast_precision(CPU) == expected


def test_members_that_differ_in_weights_alone_share_their_functions() -> None:
    same = [{"seed": 3}, {"tau": 5.0}, {"alpha": 1.0}, {"gamma_tc": 2.0}, {"learning_rate": 1.0}, {"label_rate": 1.0}]
    for change in same:
        assert structure_of(dataclasses.replace(TINY, **change)) == structure_of(TINY)
    assert functions(structure_of(TINY), None) is functions(structure_of(dataclasses.replace(TINY, seed=3)), None)
    others = [{"tau": 0.0}, {"gamma_tc": 0.0}, {"z_dim": 2}, {"regulariser": "factor_vae"}, {"instance_norm": False}]
    structures = {structure_of(dataclasses.replace(TINY, **change)) for change in others}
    assert len(structures | {structure_of(TINY)}) == len(others) + 1


def test_a_discriminator_is_there_only_where_it_weighs() -> None:
    factor_vae = dataclasses.replace(TINY, regulariser="factor_vae")
    assert structure_of(factor_vae).architecture.has_discriminator
    without = structure_of(dataclasses.replace(factor_vae, gamma_tc=0.0))
    assert (without.architecture.has_discriminator, without.terms.regulariser) == (False, "none")


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"regulariser": "factor_vae"}, {"instance_norm": False}], ids=str)
def test_fused_bfloat16_steps_stay_close_to_plain_ones(
    dataset: Dataset, change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functional, "fast_precision", lambda _: torch.bfloat16)
    monkeypatch.setattr("larvae.training.fast_precision", lambda _: torch.bfloat16)
    config = dataclasses.replace(TINY, **change)
    plain, fused = Trainer(config, dataset), Trainer(config, dataset, compiled=True)
    for _ in range(5):
        assert fused.train(1)["loss"] == pytest.approx(plain.train(1)["loss"], rel=5e-3)
    indices = np.arange(7)
    few = fused.posterior_means(indices)
    assert np.abs(few - plain.posterior_means(indices)).max() < 0.1
    assert np.array_equal(few, fused.posterior_means(np.arange(ENCODING_BATCH))[:7])  # however a batch is filled up
