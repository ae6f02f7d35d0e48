"""Values that metrics are compared with, against the metrics themselves."""

from __future__ import annotations

import numpy as np
import pytest

from larvae.datasets.factors import FactorGrid
from larvae.metrics.l2 import label_distance
from larvae.metrics.mig import mutual_information_gap
from sweeps.analysis.references import reference
from tests.analysis.invented import paired

SIZES = {
    "dsprites": (3, 6, 40, 32, 32),
    "shapes3d": (10, 10, 10, 8, 4, 15),
    "shapes3d-rendered": (10, 10, 10, 8, 4, 15),
    "isaac3d": (3, 8, 5, 4, 4, 4, 6, 4, 4),
}


@pytest.mark.parametrize("dataset", SIZES)
def test_references_are_what_perfect_and_constant_codes_score(dataset: str) -> None:
    grid = FactorGrid(names=tuple(map(str, range(len(SIZES[dataset])))), sizes=SIZES[dataset])
    classes = grid.classes(np.random.default_rng(0).integers(grid.num_images, size=10_000))
    labels = grid.to_unit_interval(grid.to_labels(classes))
    members = paired([0.1], [0.2], dataset=dataset)
    ceiling, constant = reference(members, "mig"), reference(members, "l2")
    assert ceiling is not None
    assert constant is not None
    assert ceiling.value == pytest.approx(mutual_information_gap(labels, classes), abs=0.005)
    assert constant.value == pytest.approx(label_distance(np.full_like(labels, 0.5), labels), abs=0.005)


def test_without_knowledge_or_with_some_factors_only_there_is_none() -> None:
    for dataset, metric, observed in (
        ("celeba", "mig", "[]"),
        ("dsprites", "factor_vae_score", "[]"),
        ("dsprites", "l2", "['shape']"),
    ):
        assert reference(paired([0.1], [0.2], dataset=dataset, observed_factors=observed), metric) is None
