"""Properties that all metrics of disentanglement share, and their scores of the same constructed codes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from larvae import metrics
from larvae.metrics.beta_vae_score import beta_vae_score
from larvae.metrics.dci import dci
from larvae.metrics.factor_vae_score import factor_vae_score
from larvae.metrics.mig import mutual_information_gap
from larvae.metrics.modularity import modularity
from larvae.metrics.sap import sap_score
from tests.larvae.representations import (
    Codes,
    Pools,
    combinations,
    constant,
    duplicated,
    noise,
    permuted,
    repeated,
    rotated,
)

Metric = Callable[[Pools, np.random.Generator], dict[str, float]]

METRICS: dict[str, Metric] = {
    "mig": lambda pools, _: {"mig": mutual_information_gap(pools.codes, pools.classes)},
    "modularity": lambda pools, _: {"modularity": modularity(pools.codes, pools.classes)},
    "factor_vae": lambda pools, generator: {"factor_vae": factor_vae_score(*pools, generator)},
    "beta_vae": lambda pools, generator: {"beta_vae": beta_vae_score(*pools, generator)},
    "sap": lambda pools, _: {"sap": sap_score(*pools)},
    "dci": lambda pools, generator: dci(*pools, generator)._asdict(),
}
"""Scores by name, from pools and a generator."""

PERFECT = repeated(combinations(2, 2, 2), combinations(2, 2, 2), times=30)
"""Three binary factors in a dimension each."""

each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
TESTED = [name for name in METRICS if name not in ("mig", "modularity")]
each_tested_metric = pytest.mark.parametrize("metric", [METRICS[name] for name in TESTED], ids=TESTED)
"""Those that learn on one pool and are tested on another."""


def scores(pools: Pools) -> dict[str, float]:
    """All metrics of a representation, each within its range."""
    parts = [metric(pools, np.random.default_rng(0)) for metric in METRICS.values()]
    found = {name: score for part in parts for name, score in part.items()}
    assert {name: score for name, score in found.items() if not 0 <= score <= 1 + 1e-12} == {}
    return found


PERFECT_SCORES = {
    "mig": 1.0,
    "modularity": 1.0,
    "factor_vae": 1.0,
    "beta_vae": 1.0,
    "sap": 0.5,  # the second best dimension guesses
    "disentanglement": 1.0,
    "completeness": 1.0,
    "informativeness": 1.0,
}


def test_each_metric_has_a_random_stream_of_its_own() -> None:
    streams = [metric.stream for metric in metrics.METRICS.values()]
    assert len(set(streams)) == len(streams)


def test_perfect_codes_reach_each_metrics_ceiling() -> None:
    assert scores(PERFECT) == pytest.approx(PERFECT_SCORES, abs=1e-3)


def test_neither_the_order_of_dimensions_nor_single_precision_matters() -> None:
    mixing = np.array([[1.0, 0.4, 0.0, 0.7], [0.0, 1.0, 0.2, 0.7], [0.1, 0.0, 1.0, 0.0]])
    partly = PERFECT.recoded(lambda codes: codes @ mixing + noise(np.ones((len(codes), 4))))
    expected = scores(partly)
    assert expected["factor_vae"] < 0.99
    assert expected["sap"] < 0.4
    assert scores(partly.recoded(lambda codes: permuted(codes).astype(np.float32))) == pytest.approx(expected, abs=0.02)


def test_constant_codes_score_nothing_or_what_guessing_does() -> None:
    expected = dict.fromkeys(PERFECT_SCORES, 0.0) | {"beta_vae": 1 / 3, "informativeness": 1 / 2}
    assert scores(PERFECT.recoded(constant)) == pytest.approx(expected, abs=0.03)


def test_only_some_metrics_ask_that_a_factor_is_in_one_dimension() -> None:
    result = scores(PERFECT.recoded(duplicated))
    zero = {"mig": 0.0, "sap": 0.0}
    assert result == pytest.approx(PERFECT_SCORES | zero | {"completeness": result["completeness"]}, abs=1e-3)
    evenly_split = 1 - math.log(2) / math.log(6)
    assert evenly_split - 1e-9 <= result["completeness"] < 0.95


def test_turning_two_of_three_dimensions() -> None:
    """Each of the two then knows as much of the one factor as of the other, and only the third is as before.

    MIG: only the third factor has a gap. Modularity: 1/2, 1/2 and 1, since neither of the two knows the third factor.
    SAP: both predict either factor in 3 of 4 images, which leaves the third factor's 1/2 to be averaged.
    FactorVAE: they vary equally whichever of the two factors is fixed, so that half of these votes are lost.
    """
    result = scores(PERFECT.recoded(rotated))
    expected = {"mig": 1 / 3, "modularity": 2 / 3, "factor_vae": 2 / 3, "beta_vae": 2 / 3, "sap": 1 / 6}
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=0.04)
    assert result["disentanglement"] < 0.75
    assert result["completeness"] < 0.75
    assert result["informativeness"] == 1


def test_noise_scores_next_to_nothing_or_what_guessing_does() -> None:
    result = scores(PERFECT.recoded(noise))
    assert result["mig"] < 0.1
    assert result["sap"] < 0.15
    assert result["factor_vae"] < 0.5
    assert result["beta_vae"] < 0.5
    assert 0.4 < result["informativeness"] < 0.6


# Randomness


@each_metric
def test_randomness_comes_from_the_generator_alone_and_arrays_stay_as_they_are(metric: Metric) -> None:
    pools = PERFECT.recoded(noise)
    copies = [array.copy() for array in pools]
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    expected = metric(pools, np.random.default_rng(0))
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert metric(pools, np.random.default_rng(0)) == expected
    assert all(np.array_equal(array, copy) for array, copy in zip(pools, copies, strict=True))


# Factors that do not vary


@each_metric
def test_factor_that_does_not_vary_in_the_train_pool_is_left_out(metric: Metric) -> None:
    pools = PERFECT.recoded(lambda codes: codes + 0.5 * noise(codes))
    expected = metric(pools, np.random.default_rng(0))
    classes = np.insert(pools.classes, 1, 3, axis=1)
    test_classes = np.insert(pools.test_classes, 1, np.arange(len(pools.test_classes)) % 3, axis=1)
    with_constant = pools._replace(classes=classes, test_classes=test_classes)
    assert metric(with_constant, np.random.default_rng(0)) == pytest.approx(expected, abs=1e-12)


@each_metric
def test_inputs_that_make_no_sense_are_an_error(metric: Metric) -> None:
    for change, message in (
        ({"classes": np.ones_like(PERFECT.classes)}, "at least one factor must vary"),
        *(({"codes": spoil(PERFECT.codes, value)}, "`codes` must be finite") for value in (np.nan, np.inf, -np.inf)),
        *(({"codes": codes}, r"must share n, got \(") for codes in (PERFECT.codes[:3], PERFECT.codes[None])),
        ({"codes": PERFECT.codes[:, 0]}, r"must share n, got \("),
    ):
        with pytest.raises(ValueError, match=message):
            metric(PERFECT._replace(**change), np.random.default_rng(0))
    column = np.arange(4)[:, None] // 2  # a single factor in a single dimension makes sense
    for name, score in metric(repeated(column, column, 30), np.random.default_rng(0)).items():
        assert score == pytest.approx(1, abs=1e-9), name


# Errors


def spoil(codes: Codes, value: float) -> Codes:
    spoilt = codes.copy()
    spoilt[2, 1] = value
    return spoilt


@each_tested_metric
def test_test_pool_that_does_not_fit_is_an_error(metric: Metric) -> None:
    for change, message in (
        ({"test_codes": spoil(PERFECT.test_codes, np.nan)}, "`codes` must be finite"),
        ({"test_codes": PERFECT.test_codes[:3]}, r"must share n, got \("),
        ({"test_codes": PERFECT.test_codes[:, :2]}, r"same \(d, k\), got \(3, 3\) for train and \(2, 3\) for test"),
        ({"test_classes": PERFECT.classes[:, :2]}, r"same \(d, k\), got \(3, 3\) for train and \(3, 2\) for test"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(PERFECT._replace(**change), np.random.default_rng(0))
