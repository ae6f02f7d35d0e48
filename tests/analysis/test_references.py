from __future__ import annotations

import numpy as np
import pytest

from larvae.datasets.factors import FactorGrid
from larvae.metrics.label_distance import label_distance
from larvae.metrics.mig import mutual_information_gap
from sweeps.analysis.references import reference
from tests.analysis.invented import paired


@pytest.mark.parametrize(
    ("dataset", "metric", "value"),
    [
        ("dsprites", "mig", 0.896),
        ("shapes3d", "l2", 0.790),
        ("shapes3d-rendered", "l2", 0.790),
        ("isaac3d", "mig", 0.999),
        ("isaac3d", "l2", 1.089),
    ],
)
def test_a_reference_depends_on_the_factors_only(dataset: str, metric: str, value: float) -> None:
    known = reference(paired([0.1], [0.2], dataset=dataset), metric)
    assert known is not None
    assert known.value == value


@pytest.mark.parametrize(
    ("dataset", "metric", "observed"),
    [("celeba", "mig", "[]"), ("dsprites", "factor_vae_score", "[]"), ("dsprites", "l2", "['shape']")],
)
def test_without_knowledge_or_with_some_factors_only_there_is_none(dataset: str, metric: str, observed: str) -> None:
    assert reference(paired([0.1], [0.2], dataset=dataset, observed_factors=observed), metric) is None


@pytest.mark.parametrize(
    ("dataset", "sizes"),
    [
        ("dsprites", (3, 6, 40, 32, 32)),
        ("shapes3d", (10, 10, 10, 8, 4, 15)),
        ("isaac3d", (3, 8, 5, 4, 4, 4, 6, 4, 4)),
    ],
)
def test_references_are_what_perfect_and_constant_codes_score(dataset: str, sizes: tuple[int, ...]) -> None:
    grid = FactorGrid(names=tuple(map(str, range(len(sizes)))), sizes=sizes)
    classes = grid.classes(np.random.default_rng(0).integers(grid.num_images, size=10_000))
    labels = grid.to_unit_interval(grid.standardise(classes))
    members = paired([0.1], [0.2], dataset=dataset)
    ceiling, constant = reference(members, "mig"), reference(members, "l2")
    assert ceiling is not None
    assert constant is not None
    assert ceiling.value == pytest.approx(mutual_information_gap(labels, classes), abs=0.005)
    assert constant.value == pytest.approx(label_distance(np.full_like(labels, 0.5), labels), abs=0.005)
