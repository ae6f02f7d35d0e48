"""Metrics: one record each, with all that is known before anything is computed.

The computation is `scores(sample, generator)` of the module of the metric's name, loaded when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from larvae.datasets.specification import Specification

if TYPE_CHECKING:
    import numpy as np

    from larvae.metrics.sample import Sample

    Scores = Callable[[Sample, np.random.Generator], dict[str, float]]


class Score(NamedTuple):
    """A number that a metric gives; 0 is what knows nothing, and few go below."""

    name: str
    """Name of the rows' column."""
    label: str
    """Name for people."""
    higher_is_better: bool = True
    highest: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric, before it is computed."""

    name: str
    """Name on the command line, and of the module that computes it."""
    scores: tuple[Score, ...]
    """Numbers that it gives, the one it is known by first; some add one of each factor."""
    stream: int
    """Number of its random stream, its own for ever: so another metric changes no score."""
    learns: bool = False
    """True if it learns on one sample and is scored on another, half as large."""
    is_slow: bool = False
    """True if it takes minutes a member."""
    for_dependent_factors: bool = False
    """True if it does not presuppose that all combinations of factors occur equally often."""
    for_held_out: bool = False
    """True if it is computed on held-out labelled images too, where there are any, as `held_out(name)`."""
    is_default: bool = True
    """True if it is computed at the end of each member unless others are named."""


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="mig",
            scores=(Score("mig", "MIG"), Score("mig_y", "MIG of y"), Score("mig_aligned", "aligned MIG")),
            stream=0,
            for_held_out=True,
        ),
        Metric(
            name="l2",
            scores=(Score("l2", "ℓ2", higher_is_better=False, highest=float("inf")),),
            stream=1,
            for_dependent_factors=True,
            for_held_out=True,
        ),
        Metric(name="factor_vae_score", scores=(Score("factor_vae_score", "FactorVAE score"),), stream=2, learns=True),
        Metric(name="beta_vae_score", scores=(Score("beta_vae_score", "β-VAE score"),), stream=3, learns=True),
        Metric(name="sap", scores=(Score("sap", "SAP"),), stream=4, learns=True),
        Metric(name="modularity", scores=(Score("modularity", "modularity"),), stream=5),
        Metric(
            name="dci",
            scores=(
                Score("dci_disentanglement", "DCI disentanglement"),
                Score("dci_completeness", "DCI completeness"),
                Score("dci_informativeness", "DCI informativeness"),
            ),
            stream=6,
            learns=True,
            is_slow=True,
        ),
        Metric(
            name="explicitness",
            scores=(Score("explicitness", "explicitness"),),
            stream=7,
            learns=True,
            is_default=False,
        ),
        Metric(
            name="infomec",
            scores=(Score("infom", "InfoM"), Score("infoe", "InfoE"), Score("infoc", "InfoC")),
            stream=8,
            is_default=False,
        ),
        Metric(name="irs", scores=(Score("irs", "IRS"),), stream=9, is_default=False),
        Metric(name="leak", scores=(Score("leak", "leak", higher_is_better=False),), stream=10, is_default=False),
        Metric(
            name="traversal_error",
            scores=(Score("traversal_error", "traversal error", higher_is_better=False),),
            stream=11,
            is_default=False,
        ),
        Metric(name="mig_aggregate", scores=(Score("mig_aggregate", "aggregate MIG"),), stream=12, is_default=False),
    )
}
"""All metrics by name, the usual ones first."""
SCORES = {score.name: score for metric in METRICS.values() for score in metric.scores}
"""All numbers that metrics give, by name."""
DEFAULT_METRICS = tuple(name for name, metric in METRICS.items() if metric.is_default)
HELD_OUT_METRICS = tuple(name for name, metric in METRICS.items() if metric.for_held_out)


def computation(name: str) -> Scores:
    """The function that computes a metric."""
    scores: Scores = importlib.import_module(f"{__name__}.{name}").scores
    return scores


def held_out(metric: str) -> str:
    """The name of a metric of held-out labelled images: `held_out_mig` for mig."""
    return f"held_out_{metric}"


def applicable(metrics: Iterable[str], specification: Specification) -> tuple[str, ...]:
    """The metrics that mean something on a data set: only some where its factors depend on each other."""
    independent = specification.has_independent_factors
    return tuple(name for name in metrics if independent or METRICS[name].for_dependent_factors)
