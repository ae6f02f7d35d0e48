"""The parameters that decide a search's objectives, by two methods, with intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from scipy import stats

from sweeps.adaptive.sampling import Observation, Sampler
from sweeps.analysis.estimates import CONFIDENCE
from sweeps.analysis.search.ranking import ConfigurationResult, SearchResult

FEWEST = 20
"""Finished configurations that importances can be asked of: of fewer, intervals are as long as the axis."""
BEST = 5
"""Configurations that PED-ANOVA sets against all; with fewer it is unstable, says Optuna."""
FANOVA, PED_ANOVA = "fANOVA", "PED-ANOVA"

_PARTS = 8


class Importance(NamedTuple):
    """The share of an objective that a parameter decides, by one method; a method's importances sum to 1."""

    objective: str
    method: str
    parameter: str
    share: float
    low: float
    """Ends of the t-interval (CONFIDENCE), within 0 and 1: another search's configurations would give another share.
    By the delete-a-group jackknife (Kott, 2001), each eighth of the configurations left out in turn."""
    high: float


def importances(search: SearchResult) -> list[Importance]:
    """Ask fANOVA and PED-ANOVA, of the finished configurations and their means over seeds.

    None of fewer than FEWEST configurations, nor where their values are too equal for an interval.
    """
    finished = search.finished
    if len(finished) < FEWEST:
        return []
    evaluators = {
        FANOVA: FanovaImportanceEvaluator(seed=0),
        PED_ANOVA: PedAnovaImportanceEvaluator(target_quantile=BEST / len(finished)),
    }
    return [
        importance
        for objective in range(len(search.objectives))
        for method, evaluator in evaluators.items()
        for importance in _of_method(search, objective, method, evaluator)
    ]


def _of_method(
    search: SearchResult, objective: int, method: str, evaluator: BaseImportanceEvaluator
) -> list[Importance]:
    finished = search.finished
    without = [[c for place, c in enumerate(finished) if place % _PARTS != part] for part in range(_PARTS)]
    shares, *others = [_shares(search, some, objective, evaluator) for some in (finished, *without)]
    if not shares or not all(others):
        return []
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, _PARTS - 1))
    found = []
    for name, share in shares.items():
        half_width = quantile * math.sqrt((_PARTS - 1) * np.var([other[name] for other in others]))
        low, high = max(share - half_width, 0.0), min(share + half_width, 1.0)
        found.append(Importance(search.objectives[objective], method, name, share, low, high))
    return found


def _shares(
    search: SearchResult, finished: Sequence[ConfigurationResult], objective: int, evaluator: BaseImportanceEvaluator
) -> dict[str, float]:
    """Importances of one objective; none where all values are equal or no tree of fANOVA can split them."""
    if len({c.values[objective] for c in finished}) < 2:
        return {}
    # One that takes every space: nothing is suggested here.
    sampler = Sampler(kind="random", space=search.space, objectives=search.objectives, seed=0)
    study = sampler.study([Observation(c.number, c.point, {}, "finished", c.values, 0) for c in finished])
    sign = search.signs[objective]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lower must be better, which it is here
        try:
            found = get_param_importances(
                study, evaluator=evaluator, target=lambda trial: -sign * trial.values[objective]
            )
        except RuntimeError:
            return {}
    return {name: float(found[name]) for name in search.space.parameters}
