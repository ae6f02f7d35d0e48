"""Functions of a step by structure and precision, and the members that share them."""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_cache
from torch.autograd import Function
from torch.nn.functional import cosine_similarity
from torch.utils._pytree import tree_map_only

from larvae import functional
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.functional import (
    Objective,
    Parameters,
    Structure,
    fast_precision,
    functions,
    group_objective,
    structure_of,
)
from larvae.networks import initialise
from larvae.objectives import Batch, Noise, Weights, minimised
from larvae.together.group import stack_members
from larvae.training import ENCODING_BATCH, Trainer

TINY = MemberConfig(batch_size=4, label_rate=0.001)
CPU = torch.device("cpu")
WEIGHTS = Weights(torch.tensor(4.0), torch.tensor(64.0), torch.tensor(1.0), torch.tensor(0.5))
NUM_LABELS, Z_DIM, BATCH_SIZE = 6, 5, 6
KINDS = (
    {},
    {"regulariser": "factor_vae"},
    {"regulariser": "beta_vae", "instance_norm": False},
    {"density_estimator": "minibatch_stratified", "likelihood": "bernoulli", "tau": 0.0},
    {"graphical_model": "conditional", "regulariser": "beta_vae", "tau": 0.0, "gamma_tc": 0.0},
)
"""Of members on 3D Shapes: three channels, six labels. None but the structure asks for the data set."""


def structure(kind: dict[str, object]) -> Structure:
    return structure_of(dataclasses.replace(TINY, dataset="shapes3d", **kind))


def discs(rng: np.random.Generator) -> Tensor:
    """Images of a disc in each channel, (B, 3, 64, 64)."""
    row, column, radius = rng.uniform(16, 48, (3, BATCH_SIZE, 3, 1, 1))
    rows, columns = np.mgrid[:64, :64]
    return torch.from_numpy(((rows - row) ** 2 + (columns - column) ** 2 < (radius / 3) ** 2).astype(np.float32))


def example(seed: int) -> tuple[Batch, Noise]:
    """All that any objective asks for."""
    rng = np.random.default_rng(seed)

    def normal(dimensions: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((BATCH_SIZE, dimensions), np.float32))

    rows = np.tile(np.arange(BATCH_SIZE)[:, None], NUM_LABELS + Z_DIM)
    known = torch.arange(BATCH_SIZE)[:, None] % 2
    batch = Batch(discs(rng), discs(rng), normal(NUM_LABELS), discs(rng), None, normal(NUM_LABELS), known)
    permutations = torch.from_numpy(rng.permuted(rows, axis=0))
    return batch, Noise(normal(NUM_LABELS + Z_DIM), normal(Z_DIM), normal(NUM_LABELS + Z_DIM), permutations)


def parameters_of(some: Structure, seed: int) -> dict[str, Tensor]:
    return dict(initialise(some.architecture, seed).named_parameters())


def doubled(tensors: Any) -> Any:
    """All tensors of a structure in float64, in which no unit lies so near its kink that the order of sums decides."""

    def double(value: Any) -> Any:
        return value.detach().double().requires_grad_(value.requires_grad) if value.is_floating_point() else value

    return tree_map_only(Tensor, double, tensors)


def terms_and_gradients(
    objective: Objective, parameters: Parameters, batch: Batch, noise: Noise, weights: Weights = WEIGHTS
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the sum that training minimises."""
    terms = objective(parameters, batch, noise, weights)
    total = minimised(terms).sum()
    names, values = zip(*parameters.items(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(total, values), strict=True))
    return {name: term.detach() for name, term in terms.items()}, gradients


def assert_close_in_bfloat16(
    ours: tuple[dict[str, Tensor], dict[str, Tensor]], expected: tuple[dict[str, Tensor], dict[str, Tensor]]
) -> None:
    """Terms to 2 %, gradients to a cosine of 0.96. Terms next to 0 have no relative error."""
    assert ours[0].keys() == expected[0].keys()
    for name, term in expected[0].items():
        assert float(ours[0][name]) == pytest.approx(float(term), rel=2e-2, abs=1e-2), name
    assert ours[1].keys() == expected[1].keys()
    cosines = {n: cosine_similarity(g.flatten(), ours[1][n].flatten(), dim=0) for n, g in expected[1].items()}
    assert {name: float(cosine) for name, cosine in cosines.items() if cosine < 0.96} == {}


@pytest.fixture
def unfused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.compile` left out: what would be compiled runs as it is written."""
    monkeypatch.setattr(functional, "_fused", lambda function: function)


@pytest.mark.usefixtures("unfused")
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_fast_objective_is_the_plain_one(kind: dict[str, object]) -> None:
    """But for rounding in float32, and closely in bfloat16."""
    some, inputs = structure(kind), example(0)
    parameters = parameters_of(some, seed=0)
    plain, single, half = (
        terms_and_gradients(functions.__wrapped__(some, precision).objective, parameters, *inputs)
        for precision in (None, torch.float32, torch.bfloat16)
    )
    assert {name: float(term) for name, term in single[0].items()} == pytest.approx(
        {name: float(term) for name, term in plain[0].items()}, rel=1e-5, abs=1e-5
    )
    for name, gradient in plain[1].items():
        assert torch.allclose(single[1][name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max())), name
    assert_close_in_bfloat16(half, plain)
    assert not torch.equal(plain[0]["loss"], half[0]["loss"])


@pytest.mark.usefixtures("unfused")
@pytest.mark.parametrize(("kind", "precision"), [(KINDS[0], None), (KINDS[1], torch.bfloat16), (KINDS[3], None)])
def test_the_objective_of_a_group_is_that_of_each_member(
    kind: dict[str, object], precision: torch.dtype | None
) -> None:
    some = structure(kind)
    members = [parameters_of(some, seed) for seed in (0, 1)]
    inputs = [example(seed) for seed in (0, 1)]
    weights = [WEIGHTS, Weights(torch.tensor(1.0), torch.tensor(8.0), torch.tensor(3.0), torch.tensor(2.0))]
    stacked = {name: torch.stack([member[name].detach() for member in members]).requires_grad_() for name in members[0]}
    batch, noise, stacked_weights = (stack_members(parts) for parts in (*zip(*inputs, strict=True), weights))
    objective = group_objective(some, precision or torch.float64)
    if precision is None:
        members, inputs, weights, stacked, batch, noise, stacked_weights = doubled(
            (members, inputs, weights, stacked, batch, noise, stacked_weights)
        )
    terms, gradients = terms_and_gradients(objective, stacked, batch, noise, stacked_weights)
    plain = functions.__wrapped__(some, None).objective
    for slot, parameters in enumerate(members):
        ours = tuple({name: value[slot] for name, value in values.items()} for values in (terms, gradients))
        expected = terms_and_gradients(plain, parameters, *inputs[slot], weights[slot])
        assert_close_in_bfloat16(ours, expected)
        errors = {name: float((ours[1][name] - g).norm() / g.norm()) for name, g in expected[1].items()}
        assert (max(errors.values()) <= 1e-4) == (precision is None)


@pytest.mark.usefixtures("unfused")
@pytest.mark.parametrize("precision", [None, torch.float32, torch.bfloat16], ids=str)
def test_functions_hold_no_member(precision: torch.dtype | None) -> None:
    """Each call knows the parameters that it is given and none of an earlier one's, nor does it keep them."""
    some, (batch, _) = structure({}), example(0)
    encode = functions.__wrapped__(some, precision).encode
    first, second = parameters_of(some, seed=0), parameters_of(some, seed=1)
    with torch.no_grad():
        means = [encode(parameters, batch.images) for parameters in (first, second, first)]
    assert torch.equal(means[0], means[2])
    assert not torch.allclose(means[0], means[1], atol=1e-2)
    expected = initialise(some.architecture, seed=1).encode(batch.images).mean
    error = 1e-5 if precision != torch.bfloat16 else 2e-2
    assert float((means[1] - expected).norm().detach()) <= error * float(expected.detach().norm())
    references = [weakref.ref(parameter) for parameter in first.values()]
    del first
    assert all(reference() is None for reference in references)


def test_each_structure_and_precision_has_functions_of_its_own() -> None:
    """Members that differ in weights alone share theirs; FactorVAE's discriminator is there only where it weighs."""
    same = [{"seed": 3}, {"tau": 5.0}, {"alpha": 1.0}, {"gamma_tc": 2.0}, {"learning_rate": 1.0}, {"label_rate": 1.0}]
    assert {structure_of(dataclasses.replace(TINY, **change)) for change in same} == {structure_of(TINY)}
    others = [{"tau": 0.0}, {"gamma_tc": 0.0}, {"z_dim": 2}, {"regulariser": "factor_vae"}, {"instance_norm": False}]
    structures = [structure_of(dataclasses.replace(TINY, **change)) for change in others]
    assert len({structure_of(TINY), *structures}) == len(others) + 1
    assert [some.architecture.has_discriminator for some in structures] == [False, False, False, True, False]
    without = structure_of(dataclasses.replace(TINY, regulariser="factor_vae", gamma_tc=0.0))
    assert (without.architecture.has_discriminator, without.terms.penalise) == (False, None)
    kinds = [(some, precision) for some in structures[:2] for precision in (None, torch.bfloat16)]
    first, again = ([functions(*kind) for kind in kinds] for _ in range(2))
    assert all(ours is same for ours, same in zip(first, again, strict=True))
    assert len(set(map(id, first))) == len(kinds)


def test_precision_is_one_that_the_processor_multiplies_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulated bfloat16 does not count, and compiling needs a compiler."""
    supported = False
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported
    )
    assert fast_precision(torch.device("cuda")) == torch.float32
    supported = True
    assert fast_precision(torch.device("cuda")) == torch.bfloat16
    for capabilities, expected in (
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),  # another architecture
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capabilities=capabilities: capabilities)
        assert fast_precision(CPU) == expected


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(torch._functorch.config, functional.CACHE_OUR_GRADIENTS), reason="a PyTorch that cannot cache them"
)
def test_the_compile_cache_knows_a_step_by_its_gradient() -> None:
    """Steps of one value and two gradients, as of two versions: each is found again, neither for the other."""

    def fused(slope: float) -> Any:
        class Identity(Function):
            @staticmethod
            def forward(context: Any, x: Tensor) -> Tensor:
                return x.clone()

            @staticmethod
            def backward(context: Any, *gradients: Tensor) -> Tensor:
                return slope * gradients[0]

        return functional._fused(lambda x: Identity.apply(x).sum())

    slopes_and_hits = []
    with fresh_cache():
        for slope in (2.0, 3.0, 2.0, 3.0):
            torch._dynamo.reset()  # as a new process
            counters.clear()
            x = torch.ones(3, requires_grad=True)
            fused(slope)(x).backward()
            slopes_and_hits.append((float(x.grad[0]), counters["aot_autograd"]["autograd_cache_hit"]))
    assert slopes_and_hits == [(2.0, 0), (3.0, 0), (2.0, 1), (3.0, 1)]


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
    many = np.concatenate([np.arange(ENCODING_BATCH + 100), indices])
    means = fused.posterior_means(many)
    assert np.array_equal(few, means[:7])  # however a batch is filled up
    assert np.array_equal(few, means[-7:])  # wherever in a batch
