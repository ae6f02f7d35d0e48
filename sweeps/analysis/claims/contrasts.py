"""The numbers that claims bound, made of members' results: a value for each seed, or pairs of samples over seeds.

A table holds one metric of members that differ in the fields a claim varies: a row a seed, a column a combination of
their values. Higher is better: metrics of which the opposite is true are negated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from larvae.config import MemberConfig
from sweeps.analysis.claims.evidence import Bounds, Evidence, of_mean, of_spread
from sweeps.analysis.names import written
from sweeps.analysis.parameters import SYMBOLS, value_text

Tables = Mapping[str, pd.DataFrame]
"""Tables of a claim's metrics by their names."""
Contrast = Callable[[Tables], list[Evidence]]
"""The numbers that a claim bounds, all of them; none where members do not have what it takes."""

MARGIN = 0.02
"""Smallest difference of MIG, ℓ2 and scores that matters: a tenth of what Fig. 2 of the paper shows between models."""
LEAK_MARGIN = 0.05
RATIO_MARGIN = 1.1
"""Smallest ratio of standard deviations that matters."""
CORRELATED = 0.5
"""Rank correlation above which one metric comes with another."""
SATURATED = 0.98
"""A score above which there is no more than the margin to gain."""
LARGE_Z = 5
"""Smallest nuisance that Section 5.2 calls large enough."""
_GAIN, _RATIO = Bounds(0.0, MARGIN), Bounds(1.0, RATIO_MARGIN)


def replacement_gain(tables: Tables, *, only: bool) -> list[Evidence]:
    """LaRVAE less its baseline. only: at LaRVAE's one τ, else the mean over all τ > 0, of which there are several."""
    found = []
    for metric, table in tables.items():
        above = [tau for tau in _values(table, "tau") if tau > 0]
        if len(above) < (1 if only else 2):
            continue
        chosen = [larvae_tau(above)] if only else above
        gains = _difference(table, "tau", chosen, [0.0])
        name = f"τ = {chosen[0]:g}" if only else "τ > 0"
        found += _mean(f"{written(metric)}: {name} less τ = 0", gains)
    return found


def rise_and_fall(tables: Tables) -> list[Evidence]:
    """The best τ in between less the lowest τ, and less the highest; the best by the other seeds, lest it be lucky."""
    found = []
    for metric, table in tables.items():
        taus = _values(table, "tau")
        if len(taus) < 3 or taus[0] > 0 or len(table) < 2:
            continue
        first, *between, last = taus
        curve = table.T.groupby(level="tau").mean().T  # label rates as one
        for end, name in ((first, "less τ = 0"), (last, f"less τ = {last:g}")):
            values = [curve.loc[seed, _best(curve[between].drop(seed))] - curve.loc[seed, end] for seed in curve.index]
            found.append(of_mean(f"{written(metric)}: best τ between {name}", values, _GAIN))
    return found


def growth_with_z(tables: Tables) -> list[Evidence]:
    """Each size of the nuisance less the next smaller one, from LARGE_Z on."""
    found = []
    for metric, table in tables.items():
        for smaller, larger in itertools.pairwise(size for size in _values(table, "z_dim") if size >= LARGE_Z):
            gains = _difference(table, "z_dim", [larger], [smaller])
            found += _mean(f"{written(metric)}: dim z = {larger} less {smaller}", gains)
    return found


def no_leak(tables: Tables) -> list[Evidence]:
    """Leak of the smallest nuisance from LARGE_Z on less that of the largest: at most a margin below 0."""
    found = []
    for metric, table in tables.items():
        sizes = [size for size in _values(table, "z_dim") if size >= LARGE_Z]
        if len(sizes) > 1:
            smallest, largest = sizes[0], sizes[-1]
            gains = _difference(table, "z_dim", [largest], [smallest])
            bounds = Bounds(-LEAK_MARGIN, -LEAK_MARGIN)
            found += _mean(f"{written(metric)}: dim z = {smallest} less {largest}", gains, bounds)
    return found


def spread_ratio(tables: Tables, *, field: str, smallest: float = 0.0) -> list[Evidence]:
    """Ratio of the spread over seeds at a field's lowest value to that at its highest.

    Of τ, the baseline's against LaRVAE's; of other fields, LaRVAE's. smallest: of the field's values that count.
    """
    found = []
    for metric, table in tables.items():
        taus, values = _values(table, "tau"), [value for value in _values(table, field) if value >= smallest]
        if max(taus) == 0 or len(values) < 2 or (field == "tau" and values[0] > 0):
            continue
        ends = (values[0], larvae_tau(taus) if field == "tau" else values[-1])
        if field != "tau":
            table = _at(table, tau=larvae_tau(taus))
        first, second = (_at(table, **{field: end}) for end in ends)
        first, second = (side.set_axis(_others(side, field, "tau"), axis=1) for side in (first, second))
        groups = [(list(first[other]), list(second[other])) for other in first if other in second]
        names = " over ".join(f"{SYMBOLS[field]} = {value_text(end)}" for end in ends)
        found.append(of_spread(f"{written(metric)}: sd of {names}", groups, _RATIO))
    return found


def cost_of_others_tau(tables: Tables, *, field: str) -> list[Evidence]:
    """The cost, at each value of a field, of the τ that is best at another one: both chosen by the other seeds."""
    found = []
    for metric, table in tables.items():
        values = _values(table, field)
        curves = [_at(table, **{field: value}).T.groupby(level="tau").mean().T for value in values]
        if len(values) < 2 or len(table) < 2 or min(curve.shape[1] for curve in curves) < 3:
            continue
        costs = []
        for seed in table.index:
            best = [_best(curve.drop(seed)) for curve in curves]
            costs.append(
                np.mean(
                    [
                        curve.loc[seed, own] - curve.loc[seed, other]
                        for place, (curve, own) in enumerate(zip(curves, best, strict=True))
                        for other in (*best[:place], *best[place + 1 :])
                        if other in curve
                    ]
                )
            )
        found.append(of_mean(f"{written(metric)}: own best τ less that of another {SYMBOLS[field]}", costs, _GAIN))
    return found


def weak_over_strong(tables: Tables) -> list[Evidence]:
    """The gain of label replacement at the weakest label loss less that at the strongest."""
    found = []
    for metric, table in tables.items():
        weights = [weight for weight in _values(table, "alpha") if weight > 0]
        if len(weights) < 2:
            continue
        above = [tau for tau in _values(table, "tau") if tau > 0]
        ends = [_at(table, alpha=weight) for weight in (weights[0], weights[-1])]
        weak, strong = (_difference(some, "tau", above, [0.0]) for some in ends)
        if len(weak) and len(strong):
            subject = f"{written(metric)}: gain at α = {weights[0]:g} less that at α = {weights[-1]:g}"
            found += _mean(subject, weak - strong)
    return found


def best_over_best(tables: Tables) -> list[Evidence]:
    """The best LaRVAE over α and τ less the best baseline over α, at each label rate, each tuned on the other seeds."""
    found = []
    for metric, table in tables.items():
        if len(table) < 2 or len(_values(table, "alpha")) < 2 or {0.0} >= set(_values(table, "tau")):
            continue
        gains = []
        for seed in table.index:
            others, of_rates = table.drop(seed), []
            for rate in _values(table, "label_rate"):
                sides = [
                    some.loc[:, mask]
                    for some in [_at(others, label_rate=rate)]
                    for mask in (_level(some, "tau") > 0, _level(some, "tau") == 0)
                ]
                if all(side.shape[1] for side in sides):
                    of_rates.append(table.loc[seed, _best(sides[0])] - table.loc[seed, _best(sides[1])])
            gains.append(np.mean(of_rates) if of_rates else np.nan)
        if np.isfinite(gains).all():
            found.append(of_mean(f"{written(metric)}: best LaRVAE less best baseline", gains, _GAIN))
    return found


def supervision_gain(tables: Tables) -> list[Evidence]:
    """The baseline with labels less the one without, α = 0."""
    found = []
    for metric, table in tables.items():
        baseline = _at(table, tau=0.0)
        supervised = [weight for weight in _values(baseline, "alpha") if weight > 0]
        gains = _difference(baseline, "alpha", supervised, [0.0])
        found += _mean(f"{written(metric)}: α > 0 less α = 0, both at τ = 0", gains)
    return found


def rank_correlation(tables: Tables) -> list[Evidence]:
    """Spearman's rank correlation of two metrics over the settings of each seed; ties within rounding are kept."""
    if len(tables) < 2:
        return []
    (first_name, first), (second_name, second) = tables.items()
    settings = [setting for setting in first if setting in second]
    seeds = [seed for seed in first.index if seed in second.index]
    if len(settings) < 4:
        return []
    sides = [side.loc[seeds, settings].to_numpy() for side in (first, second)]
    values = [float(stats.spearmanr(*rows).statistic) for rows in zip(*sides, strict=True)]
    values = [value for value in values if not np.isnan(value)]
    subject = f"rank correlation of {written(first_name)} and {written(second_name)}"
    return [of_mean(subject, values, Bounds(CORRELATED, CORRELATED))]


def saturation(tables: Tables) -> list[Evidence]:
    """The mean score of all members of a seed."""
    bounds = Bounds(SATURATED, SATURATED)
    return [of_mean(f"{written(name)}: mean", list(table.mean(axis=1)), bounds) for name, table in tables.items()]


outperforming: Contrast = partial(replacement_gain, only=True)
improving: Contrast = partial(replacement_gain, only=False)
less_variance: Contrast = partial(spread_ratio, field="tau")
variance_over_labels: Contrast = partial(spread_ratio, field="label_rate")
variance_over_z: Contrast = partial(spread_ratio, field="z_dim", smallest=LARGE_Z)
tuning_per_label_rate: Contrast = partial(cost_of_others_tau, field="label_rate")
tuning_per_dataset: Contrast = partial(cost_of_others_tau, field="dataset")


def larvae_tau(taus: Iterable[float]) -> float:
    """The τ that stands for LaRVAE where one must: the default, or else the middle one of those above 0."""
    above = sorted(tau for tau in taus if tau > 0)
    default = MemberConfig().tau
    return default if default in above else above[len(above) // 2]


def _mean(subject: str, values: Sequence[float] | pd.Series, bounds: Bounds = _GAIN) -> list[Evidence]:
    """The evidence of a value a seed; none where there is none."""
    return [of_mean(subject, list(values), bounds)] if len(values) else []


def _difference(table: pd.DataFrame, field: str, first: Sequence[Any], second: Sequence[Any]) -> pd.Series:
    """Mean at the first values of a field less that at the second ones, of each label rate that has both, averaged."""
    differences = []
    for rate in _values(table, "label_rate"):
        of_rate = _at(table, label_rate=rate)
        sides = [of_rate.loc[:, _level(of_rate, field).isin(values)] for values in (first, second)]
        if all(side.shape[1] for side in sides):
            differences.append(sides[0].mean(axis=1) - sides[1].mean(axis=1))
    return pd.concat(differences, axis=1).mean(axis=1) if differences else pd.Series(dtype=float)


def _others(table: pd.DataFrame, *fields: str) -> list[str]:
    """Names of the columns without some fields."""
    kept = [place for place, name in enumerate(table.columns.names) if name not in fields]
    return [str([column[place] for place in kept]) for column in table.columns.to_list()]


def _level(table: pd.DataFrame, field: str) -> pd.Index[Any]:
    return table.columns.get_level_values(field)


def _values(table: pd.DataFrame, field: str) -> list[Any]:
    return sorted(set(_level(table, field)))


def _at(table: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    """The columns of a table with these values."""
    for field, value in fields.items():
        table = table.loc[:, _level(table, field) == value]
    return table


def _best(table: pd.DataFrame) -> Any:
    """The column of the highest mean over seeds."""
    return table.mean().idxmax()
