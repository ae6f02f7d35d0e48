"""LaRVAE against its semi-supervised baseline, member by member of one seed: differences and paired tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from larvae.errors import InvalidInputError
from larvae.metrics import SCORES
from sweeps.analysis.estimates import (
    CONFIDENCE,
    Estimate,
    Interval,
    MissingMember,
    budget_text,
    budgets,
    estimate,
    has_result,
    mean_interval,
    measured,
    missing_members,
)
from sweeps.analysis.load import varied_within_panels
from sweeps.analysis.names import in_order, written
from sweeps.analysis.references import Reference, reference

ALPHA = 0.05
COMPARED_METRICS = ("mig", "l2", "factor_vae_score")
"""One figure each, where it was measured: Fig. 2 and E.1 show the first two, E.2 the third."""
BASELINE_TAU = 0.0
FEWEST_SEEDS = 3
"""Fewest seeds of a test: of two, a correlation is ±1, and a deviation says little."""
ROUNDING = 1e-12
"""Rounding of a metric: differences that vary by no more are equal."""


class Comparison(NamedTuple):
    """LaRVAE and baseline at one label rate."""

    dataset: str
    regulariser: str
    label_rate: float
    metric: str
    baseline: Estimate
    larvae: Estimate
    pairs: tuple[tuple[float, float], ...]
    """Baseline's and LaRVAE's results, for each seed of which both have one."""
    p_value: float
    """p of the paired t-test, two-sided; NaN where there is none."""
    p_holm: float
    """p corrected over all comparisons of a figure."""

    @property
    def num_pairs(self) -> int:
        return len(self.pairs)

    @property
    def difference(self) -> Interval:
        """Mean of LaRVAE minus baseline, with an interval that is not corrected for the number of comparisons."""
        return mean_interval([larvae - baseline for baseline, larvae in self.pairs])

    @property
    def is_tested(self) -> bool:
        return not math.isnan(self.p_value)

    @property
    def is_significant(self) -> bool:
        return self.p_holm <= ALPHA

    @property
    def is_beyond_std(self) -> bool:
        """The paper's criterion (Section 5.1): means further apart than the larger standard deviation over seeds."""
        baseline, larvae = self.baseline.interval, self.larvae.interval
        return bool(abs(larvae.mean - baseline.mean) > np.max([baseline.std, larvae.std]))  # NaN, of one seed: False

    @property
    def better(self) -> Estimate:
        """The estimate of the two that the mean difference speaks for."""
        favours_larvae = (self.difference.mean > 0) == SCORES[self.metric].higher_is_better
        return self.larvae if favours_larvae else self.baseline


class LabelRates(NamedTuple):
    """The content of a label rate figure: one metric, all data sets, regularisers and label rates."""

    study: str
    metric: str
    tau: float
    references: dict[str, Reference]
    """References by data set."""
    iterations: tuple[int, ...]
    """Distinct numbers of iterations of the members with a result, ascending."""
    num_members: int
    comparisons: tuple[Comparison, ...]
    missing: tuple[MissingMember, ...]

    @property
    def datasets(self) -> list[str]:
        return in_order(comparison.dataset for comparison in self.comparisons)

    @property
    def regularisers(self) -> list[str]:
        return in_order(comparison.regulariser for comparison in self.comparisons)

    @property
    def label_rates(self) -> list[float]:
        return sorted({comparison.label_rate for comparison in self.comparisons})

    @property
    def num_seeds(self) -> int:
        """Seeds of the point that has most."""
        return max(max(c.baseline.num_seeds, c.larvae.num_seeds) for c in self.comparisons)

    @property
    def heading(self) -> str:
        """The figure's heading, such as `label-rates: 10,000 iterations`."""
        return f"{self.study}: {budget_text(self.iterations)}"

    @property
    def baseline_name(self) -> str:
        """The baseline's name, such as `SS-β-TCVAE (τ = 0)`; of several regularisers, the titles tell which."""
        [*others, name] = map(written, self.regularisers)
        return "semi-supervised baseline (τ = 0)" if others else f"SS-{name} (τ = 0)"

    @property
    def larvae_name(self) -> str:
        return f"LaRVAE (τ = {self.tau:g})"

    def panel(self, dataset: str, regulariser: str) -> list[Comparison]:
        """Comparisons of one data set and regulariser, label rates ascending."""
        chosen = [c for c in self.comparisons if (c.dataset, c.regulariser) == (dataset, regulariser)]
        return sorted(chosen, key=lambda comparison: comparison.label_rate)


def choose_members(study: str, members: pd.DataFrame, tau: float | None) -> tuple[pd.DataFrame, float]:
    """The members of the baseline and of LaRVAE, and LaRVAE's τ: the one asked for, or the only one > 0.

    Raises InvalidInputError unless members of one data set and regulariser vary τ and, beside label rate and
    seed, nothing else, there are both baseline and LaRVAE, and τ is settled.
    """
    varied = varied_within_panels(members)
    if varied != ["tau"]:
        rule = "members of `study` with one data set and regulariser must vary tau, label rate and seed only"
        got = f"{study} that varies {', '.join(varied) or 'none of its parameters'}"
        raise InvalidInputError(f"{rule}, got {got}: choose members with --where")
    replacing = [value for value in sorted(set(members["tau"])) if value > BASELINE_TAU]
    if BASELINE_TAU not in set(members["tau"]):
        raise InvalidInputError(f"`study` must have members of tau = 0, the baseline, got {study} without")
    known = ", ".join(f"{value:g}" for value in replacing)
    if tau is None and len(replacing) > 1:
        raise InvalidInputError(f"`tau` must be given for {study}, one of {known}, got none")
    if tau is not None and tau not in replacing:
        raise InvalidInputError(f"`tau` must be one of {known} for {study}, got {tau:g}")
    chosen = replacing[0] if tau is None else tau
    return members[members["tau"].isin([BASELINE_TAU, chosen])], chosen


def compare(study: str, members: pd.DataFrame, tau: float) -> list[LabelRates]:
    """Compare baseline and LaRVAE, the members of `choose_members`, in each metric that was measured.

    Raises InvalidInputError when none was, or a seed has several members of one configuration.
    """
    keys = ["dataset", "regulariser", "label_rate", "tau", "seed"]
    if (repeated := members[members.duplicated(keys)]).size:
        one = " ".join(f"{key}={repeated.iloc[0][key]}" for key in keys)
        raise InvalidInputError(f"`study` must have one member of a configuration, got {study} with several of {one}")
    return [_compare(study, members, tau, metric) for metric in measured(study, members, COMPARED_METRICS)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction over all p-values. NaN stays and counts as 1, lest tests that could not be made help others."""
    from statsmodels.stats.multitest import multipletests  # takes a second

    values = np.array(p_values, np.float64)
    corrected = multipletests(np.nan_to_num(values, nan=1.0), method="holm")[1]
    return [math.nan if math.isnan(value) else float(p) for value, p in zip(values, corrected, strict=True)]


def paired_results(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> list[tuple[float, float]]:
    """Results of members, a row a seed on either side, for each seed of which both have one, seeds ascending."""
    sides = [side[has_result(side, metric)].set_index("seed")[metric] for side in (first, second)]
    pairs = pd.concat(sides, axis=1, join="inner").sort_index()
    return [(float(one), float(other)) for one, other in pairs.to_numpy()]


def paired_p_value(larvae: Sequence[float], baseline: Sequence[float]) -> float:
    """Two-sided p-value of the paired t-test; NaN, no test, for fewer than two pairs or equal differences.

    Equal differences have variance zero, from which t would be 0/0, or infinite after as few as two seeds.
    """
    if len(larvae) < 2 or np.ptp(np.subtract(larvae, baseline)) <= ROUNDING:
        return math.nan
    return float(stats.ttest_rel(larvae, baseline).pvalue)


def comparisons_frame(figures: Iterable[LabelRates]) -> pd.DataFrame:
    """One row a comparison; the two means are over all seeds of each, the mean difference is over pairs."""
    rows = [
        {
            "dataset": c.dataset,
            "regulariser": c.regulariser,
            "label_rate": c.label_rate,
            "metric": c.metric,
            "num_pairs": c.num_pairs,
            "baseline_mean": c.baseline.interval.mean,
            "baseline_std": c.baseline.interval.std,
            "larvae_mean": c.larvae.interval.mean,
            "larvae_std": c.larvae.interval.std,
            "mean_difference": c.difference.mean,
            "ci_low": c.difference.low,
            "ci_high": c.difference.high,
            "p_value": c.p_value,
            "p_holm": c.p_holm,
            "significant": c.is_significant,
            "beyond_std": c.is_beyond_std,
        }
        for figure in figures
        for c in figure.comparisons
    ]
    return pd.DataFrame(rows)


def comparisons_table(figure: LabelRates) -> str:
    """A table for the terminal: a line for each comparison, a block for each data set."""
    name = written(figure.metric)
    lines = [
        f"{name}: {figure.baseline_name}, {figure.larvae_name}, difference [{100 * CONFIDENCE:g} % t-interval]",
        "  > s: means differ by more than the larger std, the paper's criterion",
    ]
    for dataset in figure.datasets:
        lines.append(f"  {written(dataset)}")
        lines.append(
            f"    {'':<11}{'η':>6}{'pairs':>7}{'τ = 0':>8}{f'τ = {figure.tau:g}':>8} {'difference':<24}p (Holm)"
        )
        for regulariser in figure.regularisers:
            lines.extend(_table_line(comparison) for comparison in figure.panel(dataset, regulariser))
    return "\n".join(lines)


def _compare(study: str, members: pd.DataFrame, tau: float, metric: str) -> LabelRates:
    logging = [dataset for dataset, some in members.groupby("dataset") if has_result(some, metric).any()]
    members = members[members["dataset"].isin(logging)]
    cells = [cell for _, cell in members.groupby(["dataset", "regulariser", "label_rate"])]
    comparisons = [_comparison(cell, tau, metric) for cell in cells]
    corrected = holm([comparison.p_value for comparison in comparisons])
    return LabelRates(
        study=study,
        metric=metric,
        tau=tau,
        references={
            str(name): known for name, some in members.groupby("dataset") if (known := reference(some, metric))
        },
        iterations=budgets(members, [metric]),
        num_members=len(members),
        comparisons=tuple(c._replace(p_holm=p) for c, p in zip(comparisons, corrected, strict=True)),
        missing=missing_members(
            members, [metric], lambda row: f"{written(row['dataset'])} {written(row['regulariser'])} τ={row['tau']:g}"
        ),
    )


def _comparison(cell: pd.DataFrame, tau: float, metric: str) -> Comparison:
    """Compare the members of one data set, regulariser and label rate."""
    label_rate = float(cell["label_rate"].iloc[0])
    baseline, larvae = (cell[cell["tau"] == value] for value in (BASELINE_TAU, tau))
    pairs = paired_results(baseline, larvae, metric)
    return Comparison(
        dataset=str(cell["dataset"].iloc[0]),
        regulariser=str(cell["regulariser"].iloc[0]),
        label_rate=label_rate,
        metric=metric,
        baseline=estimate(baseline, label_rate, BASELINE_TAU, metric),
        larvae=estimate(larvae, label_rate, tau, metric),
        pairs=tuple(pairs),
        p_value=paired_p_value([second for _, second in pairs], [first for first, _ in pairs]),
        p_holm=math.nan,
    )


def _table_line(comparison: Comparison) -> str:
    difference = comparison.difference
    means = (f"{side.interval.mean:>8.3f}" for side in (comparison.baseline, comparison.larvae))
    bounds = "" if math.isnan(difference.std) else f" [{difference.low:+.3f}, {difference.high:+.3f}]"
    shown = "-" if math.isnan(difference.mean) else f"{difference.mean:+.3f}{bounds}"
    name = written(comparison.regulariser)
    pairs = f"{comparison.num_pairs}/{max(comparison.baseline.num_planned, comparison.larvae.num_planned)}"
    rate = f"{100 * comparison.label_rate:g} %"
    tested = p_text(comparison.p_value, comparison.p_holm, starred=comparison.is_significant)
    beyond = " > s" if comparison.is_beyond_std else ""
    return f"    {name:<11}{rate:>6}{pairs:>7}{''.join(means)} {shown:<24}{tested:<7}{beyond}".rstrip()


def p_text(p_value: float, p_holm: float, *, starred: bool) -> str:
    """A corrected p-value, starred or not, or `-` where there was no test."""
    if math.isnan(p_value):
        return "-"
    shown = "<.001" if p_holm < 0.001 else f"{p_holm:.3f}".removeprefix("0")
    return f"{shown:>5}{' *' * starred}"
