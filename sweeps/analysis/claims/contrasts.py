"""The numbers that claims bound, made of members' results: a value for each seed, or pairs of samples over seeds.

A table holds one metric of members that differ in the fields a claim varies: a row a seed, a column a combination of
their values, and of several labelled sets where a seed has them. Higher is better: metrics of which the opposite is
true are negated. Tables have gaps: each contrast takes what it needs, and of that the part without.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from larvae.config import MemberConfig
from sweeps.analysis.claims.evidence import FEWEST_SEEDS_OF_CHOICE, Bounds, Evidence, of_mean, of_spread
from sweeps.analysis.claims.seed_tables import (
    Whole,
    among,
    at,
    best_column,
    difference,
    halves,
    lacks_pair,
    level,
    mean_of,
    over_label_sets,
    over_rates,
    single,
    values_of,
    values_with_results,
    whole_part,
    with_label_loss,
)
from sweeps.analysis.crossed import without_gaps
from sweeps.analysis.names import written
from sweeps.analysis.parameters import symbol, value_text

Tables = Mapping[str, pd.DataFrame]
"""Tables of metrics by their names: one, or of a joint claim all."""
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
    metric, table = single(tables)
    taus, known = values_of(table, "tau"), values_with_results(table, "tau")
    if len(taus) < (2 if only else 3) or taus[0] > 0 or known[-1] == 0:
        return []
    chosen = [larvae_tau(known)] if only else taus[1:]
    whole = whole_part(among(table, tau=[0.0, *chosen]), fewest={"tau": 2 if only else 3}, kept={"tau": [0.0]})
    name = f"τ = {chosen[0]:g}" if only else "τ > 0"
    return _mean(f"{metric}: {name} less τ = 0", difference(whole.table, "tau", chosen, [0.0]), whole)


def rise_and_fall(tables: Tables) -> list[Evidence]:
    """The best τ in between less the lowest τ, and less the highest; half of the seeds choose it, the others judge."""
    metric, table = single(tables)
    taus = values_of(table, "tau")
    if len(taus) < 3 or taus[0] > 0:
        return []
    whole = whole_part(table, fewest={"tau": 3}, kept={"tau": [0.0]}, seeds=FEWEST_SEEDS_OF_CHOICE)
    choosing, judging = map(over_rates, halves(whole.table))
    first, *between, last = choosing
    return [
        _chosen(
            f"{metric}: best τ between {name}",
            judging[best_column(choosing[between])] - judging[end] if len(choosing) else (),
            whole,
        )
        for end, name in ((first, "less τ = 0"), (last, f"less τ = {last:g}"))
    ]


def growth_with_z(tables: Tables) -> list[Evidence]:
    """Each size of the nuisance less the next smaller one, from LARGE_Z on."""
    metric, table = single(tables)
    sizes = [size for size in values_of(table, "z_dim") if size >= LARGE_Z]
    if len(sizes) < 2:
        return []
    whole = whole_part(among(table, z_dim=sizes), fewest={"z_dim": 2})
    return [
        one
        for smaller, larger in itertools.pairwise(values_of(whole.table, "z_dim"))
        for one in _mean(
            f"{metric}: dim z = {larger} less {smaller}", difference(whole.table, "z_dim", [larger], [smaller]), whole
        )
    ]


def no_leak(tables: Tables) -> list[Evidence]:
    """Leak of the smallest nuisance from LARGE_Z on less that of the largest: at most a margin below 0."""
    metric, table = single(tables)
    sizes = [size for size in values_of(table, "z_dim") if size >= LARGE_Z]
    if len(sizes) < 2:
        return []
    whole = whole_part(among(table, z_dim=sizes), fewest={"z_dim": 2})
    smallest, *_, largest = values_of(whole.table, "z_dim")
    gains = difference(whole.table, "z_dim", [largest], [smallest])
    return _mean(f"{metric}: dim z = {smallest} less {largest}", gains, whole, Bounds(-LEAK_MARGIN, -LEAK_MARGIN))


def spread_ratio(tables: Tables, *, field: str, smallest: float = 0.0) -> list[Evidence]:
    """Ratio of the spread over seeds at a field's lowest value to that at its highest.

    Of τ, the baseline's against LaRVAE's; of other fields, LaRVAE's. smallest: of the field's values that count.
    """
    metric, table = single(tables)
    if field == "tau":
        taus = values_with_results(table, "tau")
        table = among(table, tau=[0.0, larvae_tau(taus)]) if taus[0] == 0 < taus[-1] else table.iloc[:, :0]
    else:
        of_taus = {tau: at(table, tau=tau) for tau in values_with_results(table, "tau") if tau > 0}
        known = {tau: some for tau, some in of_taus.items() if sum(v >= smallest for v in values_of(some, field)) > 1}
        table = known[larvae_tau(known)] if known else table.iloc[:, :0]
    values = [value for value in values_of(table, field) if value >= smallest]
    if len(values) < 2:
        return []
    whole = whole_part(among(table, **{field: values}), fewest={field: 2})
    first, *_, last = values_of(whole.table, field)
    sides = [at(whole.table, **{field: end}) for end in (first, last)]
    groups = [(list(low), list(high)) for (_, low), (_, high) in zip(*(side.items() for side in sides), strict=True)]
    names = " over ".join(f"{symbol(field)} = {value_text(end)}" for end in (first, last))
    return [whole.evidence(of_spread(f"{metric}: sd of {names}", groups, _RATIO))]


def cost_of_others_tau(tables: Tables, *, field: str) -> list[Evidence]:
    """The cost, at each value of a field, of the τ that is best at the others; half of the seeds choose these.

    Not their mean: where τ hardly matters at a value, luck chooses its best τ, which costs much at another one.
    """
    metric, table = single(tables)
    if len(values_of(table, field)) < 2 or len(values_of(table, "tau")) < 3:
        return []
    whole = whole_part(table, fewest={field: 2, "tau": 3}, seeds=FEWEST_SEEDS_OF_CHOICE)
    values = values_of(whole.table, field)
    curves = {value: tuple(map(over_rates, halves(at(whole.table, **{field: value})))) for value in values}
    best = {value: best_column(choosing) for value, (choosing, _) in curves.items() if len(choosing)}
    found = []
    for value, (_, judging) in curves.items():
        costs = [judging[best[value]] - judging[tau] for other, tau in best.items() if other != value]
        subject = f"{metric}: at {symbol(field)} = {value_text(value)}, own best τ less that of others"
        found.append(_chosen(subject, mean_of(costs), whole))
    return found


def weak_over_strong(tables: Tables) -> list[Evidence]:
    """The gain of label replacement at the weakest label loss less that at the strongest."""
    metric, table = single(tables)
    table = with_label_loss(table)
    if len(values_of(table, "alpha")) < 2 or lacks_pair(table):
        return []
    whole = whole_part(table, fewest={"alpha": 2, "tau": 2}, kept={"tau": [0.0]})
    (weakest, *_, strongest), (_, *above) = values_of(whole.table, "alpha"), values_of(whole.table, "tau")
    weak, strong = (difference(at(whole.table, alpha=end), "tau", above, [0.0]) for end in (weakest, strongest))
    return _mean(f"{metric}: gain at α = {weakest:g} less that at α = {strongest:g}", weak - strong, whole)


def best_over_best(tables: Tables) -> list[Evidence]:
    """The best LaRVAE over α and τ of each label rate, chosen by half of the seeds, less each baseline of that rate.

    A number for each α: a baseline that luck chose would be a weaker opponent than the best.
    """
    metric, table = single(tables)
    table = with_label_loss(table)
    if len(values_of(table, "alpha")) < 2 or lacks_pair(table):
        return []
    whole = whole_part(table, fewest={"alpha": 2, "tau": 2}, kept={"tau": [0.0]}, seeds=FEWEST_SEEDS_OF_CHOICE)
    rates = values_of(whole.table, "label_rate")
    found = []
    for rate, weight in itertools.product(rates, values_of(whole.table, "alpha")):
        choosing, judging = halves(at(whole.table, label_rate=rate))
        gains: Iterable[float] = ()
        if len(choosing):
            larvae = judging[best_column(choosing.loc[:, level(choosing, "tau") > 0])]
            gains = larvae - at(judging, tau=0.0, alpha=weight).iloc[:, 0]
        where = f"at η = {rate:g}, " if len(rates) > 1 else ""
        found.append(_chosen(f"{metric}: {where}best LaRVAE less baseline of α = {weight:g}", gains, whole))
    return found


def supervision_gain(tables: Tables) -> list[Evidence]:
    """The baseline with labels less the one without, α = 0."""
    metric, table = single(tables)
    baseline = among(table, tau=[0.0])
    weights = values_of(baseline, "alpha")
    if len(weights) < 2 or weights[0] > 0:
        return []
    whole = whole_part(baseline, fewest={"alpha": 2}, kept={"alpha": [0.0]})
    gains = difference(whole.table, "alpha", weights[1:], [0.0])
    return _mean(f"{metric}: α > 0 less α = 0, both at τ = 0", gains, whole)


def rank_correlation(tables: Tables) -> list[Evidence]:
    """Spearman's rank correlation of two metrics over the settings of each seed; ties within rounding are kept."""
    if len(tables) < 2:
        return []
    (first_name, first), (second_name, second) = tables.items()
    if first.columns.names != second.columns.names:  # only one was measured with several labelled sets a seed
        first, second = map(over_label_sets, (first, second))
    known = without_gaps((first + second).dropna(axis="columns", how="all"))  # a gap in either is one in both
    if known.empty:
        return []
    sides = [over_label_sets(side.loc[known.index, known.columns]).to_numpy() for side in (first, second)]
    if sides[0].shape[1] < 4:
        return []
    differing = [rows for rows in zip(*sides, strict=True) if min(map(np.ptp, rows)) > 0]
    values = [float(stats.spearmanr(*rows).statistic) for rows in differing]
    subject = f"rank correlation of {written(first_name)} and {written(second_name)}"
    evidence = of_mean(subject, values, Bounds(CORRELATED, CORRELATED))
    return [_at_most_one(evidence)._replace(num_planned=len(first))]


def saturation(tables: Tables) -> list[Evidence]:
    """The mean score of all members of a seed."""
    metric, table = single(tables)
    whole = whole_part(table)
    found = _mean(f"{metric}: mean", whole.table.mean(axis=1), whole, Bounds(SATURATED, SATURATED))
    return list(map(_at_most_one, found))


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


def _mean(subject: str, values: pd.Series, whole: Whole, bounds: Bounds = _GAIN) -> list[Evidence]:
    """The evidence of a value a seed; none where there is no seed."""
    return [whole.evidence(of_mean(subject, list(values), bounds))] if len(values) else []


def _chosen(subject: str, values: Iterable[float], whole: Whole) -> Evidence:
    """The evidence of a value a seed for what other seeds have chosen."""
    choosing, judging = map(len, halves(whole.table))
    evidence = of_mean(subject, list(values), _GAIN)._replace(num_seeds=judging, num_choosing=choosing)
    return whole.evidence(evidence)


def _at_most_one(evidence: Evidence) -> Evidence:
    """Evidence on a number that cannot be larger than 1 nor smaller than −1: its interval ends there."""
    return evidence._replace(low=max(evidence.low, -1.0), high=min(evidence.high, 1.0))
