"""The numbers that claims bound, made of members' results: a value for each seed, or pairs of samples over seeds.

A table holds one metric of members that differ in the fields a claim varies: a row a seed, a column a combination of
their values, and of several labelled sets where a seed has them. Higher is better: metrics of which the opposite is
true are negated. Tables have gaps: each contrast takes what it needs, and of that the part without.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from larvae.config import MemberConfig
from sweeps.analysis.claims.evidence import Bounds, Evidence, of_mean, of_spread
from sweeps.analysis.crossed import full_product, without_gaps
from sweeps.analysis.names import written
from sweeps.analysis.parameters import symbol, value_text

Tables = Mapping[str, pd.DataFrame]
"""Tables of a claim's metrics by their names."""
Contrast = Callable[[Tables], list[Evidence]]
"""The numbers that a claim bounds, all of them; none where members do not have what it takes."""

Kept = Mapping[str, Sequence[Any]]
LABELLED_SET = "label_seed"
"""Name of the level of a table that has several labelled sets a seed."""
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
        taus = _values(table, "tau")
        if len(taus) < (2 if only else 3) or taus[0] > 0:
            continue
        chosen = [larvae_tau(taus)] if only else taus[1:]
        table = _whole(_among(table, tau=[0.0, *chosen]), fewest={"tau": 2 if only else 3}, kept={"tau": [0.0]})
        gains = _difference(table, "tau", chosen, [0.0])
        name = f"τ = {chosen[0]:g}" if only else "τ > 0"
        found += _mean(f"{written(metric)}: {name} less τ = 0", gains)
    return found


def rise_and_fall(tables: Tables) -> list[Evidence]:
    """The best τ in between less the lowest τ, and less the highest; half of the seeds choose it, the others judge."""
    found = []
    for metric, table in tables.items():
        taus = _values(table, "tau")
        if len(taus) < 3 or taus[0] > 0:
            continue
        choosing, judging = map(_over_rates, _halves(_whole(table, fewest={"tau": 3}, kept={"tau": [0.0]})))
        first, *between, last = choosing
        for end, name in ((first, "less τ = 0"), (last, f"less τ = {last:g}")):
            values = judging[_best(choosing[between])] - judging[end] if len(choosing) else []
            found.append(_chosen(f"{written(metric)}: best τ between {name}", values, choosing))
    return found


def growth_with_z(tables: Tables) -> list[Evidence]:
    """Each size of the nuisance less the next smaller one, from LARGE_Z on."""
    found = []
    for metric, table in tables.items():
        sizes = [size for size in _values(table, "z_dim") if size >= LARGE_Z]
        if len(sizes) < 2:
            continue
        table = _whole(_among(table, z_dim=sizes), fewest={"z_dim": 2})
        for smaller, larger in itertools.pairwise(_values(table, "z_dim")):
            gains = _difference(table, "z_dim", [larger], [smaller])
            found += _mean(f"{written(metric)}: dim z = {larger} less {smaller}", gains)
    return found


def no_leak(tables: Tables) -> list[Evidence]:
    """Leak of the smallest nuisance from LARGE_Z on less that of the largest: at most a margin below 0."""
    found = []
    for metric, table in tables.items():
        sizes = [size for size in _values(table, "z_dim") if size >= LARGE_Z]
        if len(sizes) > 1:
            table = _whole(_among(table, z_dim=sizes), fewest={"z_dim": 2})
            smallest, *_, largest = _values(table, "z_dim")
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
        if field == "tau":
            taus = _values(table, "tau")
            table = _among(table, tau=[0.0, larvae_tau(taus)]) if taus[0] == 0 < taus[-1] else table.iloc[:, :0]
        else:
            of_taus = {tau: _at(table, tau=tau) for tau in _values(table, "tau") if tau > 0}
            known = {tau: some for tau, some in of_taus.items() if sum(v >= smallest for v in _values(some, field)) > 1}
            table = known[larvae_tau(known)] if known else table.iloc[:, :0]
        values = [value for value in _values(table, field) if value >= smallest]
        if len(values) < 2:
            continue
        table = _whole(_among(table, **{field: values}), fewest={field: 2})
        first, *_, last = _values(table, field)
        sides = [_at(table, **{field: end}) for end in (first, last)]
        groups = [
            (list(low), list(high)) for (_, low), (_, high) in zip(*(side.items() for side in sides), strict=True)
        ]
        names = " over ".join(f"{symbol(field)} = {value_text(end)}" for end in (first, last))
        found.append(of_spread(f"{written(metric)}: sd of {names}", groups, _RATIO))
    return found


def cost_of_others_tau(tables: Tables, *, field: str) -> list[Evidence]:
    """The cost, at each value of a field, of the τ that is best at another one: half of the seeds choose both."""
    found = []
    for metric, table in tables.items():
        if len(_values(table, field)) < 2 or len(_values(table, "tau")) < 3:
            continue
        table = _whole(table, fewest={field: 2, "tau": 3})
        curves = [tuple(map(_over_rates, _halves(_at(table, **{field: value})))) for value in _values(table, field)]
        choosing = curves[0][0]
        best = [_best(of_choosing) for of_choosing, _ in curves] if len(choosing) else []
        costs = [
            judging[best[place]] - judging[other]
            for place, (_, judging) in enumerate(curves[: len(best)])
            for other in (*best[:place], *best[place + 1 :])
        ]
        subject = f"{written(metric)}: own best τ less that of another {symbol(field)}"
        found.append(_chosen(subject, sum(costs) / len(costs) if costs else [], choosing))
    return found


def weak_over_strong(tables: Tables) -> list[Evidence]:
    """The gain of label replacement at the weakest label loss less that at the strongest."""
    found = []
    for metric, table in tables.items():
        table = _among(table, alpha=[weight for weight in _values(table, "alpha") if weight > 0])
        if len(_values(table, "alpha")) < 2 or _lacks_pair(table):
            continue
        table = _whole(table, fewest={"alpha": 2, "tau": 2}, kept={"tau": [0.0]})
        (weakest, *_, strongest), (_, *above) = _values(table, "alpha"), _values(table, "tau")
        weak, strong = (_difference(_at(table, alpha=end), "tau", above, [0.0]) for end in (weakest, strongest))
        found += _mean(f"{written(metric)}: gain at α = {weakest:g} less that at α = {strongest:g}", weak - strong)
    return found


def best_over_best(tables: Tables) -> list[Evidence]:
    """The best LaRVAE over α and τ less the best baseline over α, at each label rate; half of the seeds choose both."""
    found = []
    for metric, table in tables.items():
        if len(_values(table, "alpha")) < 2 or _lacks_pair(table):
            continue
        table = _whole(table, fewest={"alpha": 2, "tau": 2}, kept={"tau": [0.0]})
        choosing, _ = _halves(table)
        gains = []
        for rate in _values(table, "label_rate") if len(choosing) else ():
            of_choosing, of_judging = _halves(_at(table, label_rate=rate))
            is_larvae = _level(of_choosing, "tau") > 0
            larvae, baseline = (_best(of_choosing.loc[:, mask]) for mask in (is_larvae, ~is_larvae))
            gains.append(of_judging[larvae] - of_judging[baseline])
        gain = sum(gains) / len(gains) if gains else []
        found.append(_chosen(f"{written(metric)}: best LaRVAE less best baseline", gain, choosing))
    return found


def supervision_gain(tables: Tables) -> list[Evidence]:
    """The baseline with labels less the one without, α = 0."""
    found = []
    for metric, table in tables.items():
        baseline = _among(table, tau=[0.0])
        weights = _values(baseline, "alpha")
        if len(weights) > 1 and weights[0] == 0:
            baseline = _whole(baseline, fewest={"alpha": 2}, kept={"alpha": [0.0]})
            gains = _difference(baseline, "alpha", _values(baseline, "alpha")[1:], [0.0])
            found += _mean(f"{written(metric)}: α > 0 less α = 0, both at τ = 0", gains)
    return found


def rank_correlation(tables: Tables) -> list[Evidence]:
    """Spearman's rank correlation of two metrics over the settings of each seed; ties within rounding are kept."""
    if len(tables) < 2:
        return []
    (first_name, first), (second_name, second) = tables.items()
    if first.columns.names != second.columns.names:  # only one was measured with several labelled sets a seed
        first, second = map(_over_label_sets, (first, second))
    known = without_gaps((first + second).dropna(axis="columns", how="all"))  # a gap in either is one in both
    if known.empty:
        return []
    sides = [_over_label_sets(side.loc[known.index, known.columns]).to_numpy() for side in (first, second)]
    if sides[0].shape[1] < 4:
        return []
    differing = [rows for rows in zip(*sides, strict=True) if min(map(np.ptp, rows)) > 0]
    values = [float(stats.spearmanr(*rows).statistic) for rows in differing]
    subject = f"rank correlation of {written(first_name)} and {written(second_name)}"
    return [of_mean(subject, values, Bounds(CORRELATED, CORRELATED))]


def saturation(tables: Tables) -> list[Evidence]:
    """The mean score of all members of a seed."""
    bounds = Bounds(SATURATED, SATURATED)
    return [
        one
        for name, table in tables.items()
        for one in _mean(f"{written(name)}: mean", _whole(table).mean(axis=1), bounds)
    ]


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


def _mean(subject: str, values: pd.Series, bounds: Bounds = _GAIN) -> list[Evidence]:
    """The evidence of a value a seed; none where there is no seed."""
    return [of_mean(subject, list(values), bounds)] if len(values) else []


def _chosen(subject: str, values: Iterable[float], choosing: pd.DataFrame) -> Evidence:
    """The evidence of a value a seed for what other seeds have chosen."""
    return of_mean(subject, list(values), _GAIN)._replace(num_choosing=len(choosing))


def _difference(table: pd.DataFrame, field: str, first: Sequence[Any], second: Sequence[Any]) -> pd.Series:
    """Mean of each seed at the first values of a field, less that at the second ones."""
    return _among(table, **{field: first}).mean(axis=1) - _among(table, **{field: second}).mean(axis=1)


def _whole(
    table: pd.DataFrame, fewest: Mapping[str, int] = MappingProxyType({}), kept: Kept = MappingProxyType({})
) -> pd.DataFrame:
    """The part of a table without gaps, labelled sets as one: each value of a field with all of the others."""
    return _over_label_sets(full_product(table, fewest, kept))


def _over_label_sets(table: pd.DataFrame) -> pd.DataFrame:
    """Means over labelled sets, where there are several."""
    others = [name for name in table.columns.names if name != LABELLED_SET]
    return table if len(others) == table.columns.nlevels else table.T.groupby(level=others).mean().T


def _over_rates(table: pd.DataFrame) -> pd.DataFrame:
    """A column a τ: means over all else."""
    return table.T.groupby(level="tau").mean().T


def _halves(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seeds that choose, and the others, which judge: so these are as independent as seeds are."""
    return table.iloc[: len(table) // 2], table.iloc[len(table) // 2 :]


def _lacks_pair(table: pd.DataFrame) -> bool:
    """Tell that there are not both, τ = 0 and τ > 0."""
    taus = _values(table, "tau")
    return len(taus) < 2 or taus[0] > 0


def _level(table: pd.DataFrame, field: str) -> pd.Index[Any]:
    return table.columns.get_level_values(field)


def _values(table: pd.DataFrame, field: str) -> list[Any]:
    return sorted(set(_level(table, field)))


def _at(table: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    """The columns of a table with these values."""
    return _among(table, **{field: [value] for field, value in fields.items()})


def _among(table: pd.DataFrame, **fields: Sequence[Any]) -> pd.DataFrame:
    """The columns of a table with one of these values of each field."""
    for field, values in fields.items():
        table = table.loc[:, _level(table, field).isin(values)]
    return table


def _best(table: pd.DataFrame) -> Any:
    """The column of the highest mean over seeds."""
    return table.mean().idxmax()
