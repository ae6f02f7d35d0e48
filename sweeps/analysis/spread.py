"""The spread of results over seeds: the paper's two claims about it (Section 5.1), each with a test that fits.

"LaRVAE has less variance": the Pitman–Morgan test of two variances of paired seeds, from the correlation of their sums
with their differences; it assumes pairs to be bivariate normal. "The variance reduces as more labels are available":
the Brown–Forsythe test of the fewest labels against the most (Levene's, around medians); it assumes groups to be
independent, while label rates of a seed share their initialisation and their labelled images, so that its p-values are
approximate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.analysis.comparisons import (
    ALPHA,
    BASELINE_TAU,
    FEWEST_SEEDS,
    ROUNDING,
    Comparison,
    LabelRates,
    holm,
    p_text,
)
from sweeps.analysis.estimates import mean_interval
from sweeps.analysis.names import written

LESS_VARIANCE, FALLS_WITH_LABELS = "less variance", "variance falls with labels"


class SpreadTest(NamedTuple):
    """One claim about standard deviations over seeds: that the last is less than the first."""

    claim: str
    dataset: str
    regulariser: str
    metric: str
    subject: str
    """Condition that is held: a label rate, such as `η = 1 %`, or a model, such as `τ = 0`."""
    compared: tuple[str, ...]
    """Conditions that differ, in the claim's order."""
    stds: tuple[float, ...]
    """Of the seeds that are tested."""
    p_value: float
    """Two-sided p, that all variances are one; NaN where there is no test."""
    p_holm: float
    """p corrected over all tests of the claim in a figure."""

    @property
    def holds(self) -> bool:
        return self.p_holm <= ALPHA and self.stds[-1] < self.stds[0]


def pitman_morgan_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value that paired values have one variance (Pitman, 1939; Morgan, 1939).

    NaN below three pairs, and where either does not vary: a score at its ceiling is not normal.
    """
    sums, differences = np.add(first, second), np.subtract(first, second)
    if len(sums) < FEWEST_SEEDS or min(map(np.ptp, (first, second, sums, differences))) <= ROUNDING:
        return math.nan
    return float(stats.pearsonr(sums, differences).pvalue)


def brown_forsythe_p_value(groups: Sequence[Sequence[float]]) -> float:
    """p-value that groups have one variance (Brown and Forsythe, 1974); NaN for one group, or one of two values."""
    if len(groups) < 2 or min(map(len, groups)) < FEWEST_SEEDS or max(map(np.ptp, groups)) <= ROUNDING:
        return math.nan
    return float(stats.levene(*groups, center="median").pvalue)


def spread_tests(rates: LabelRates) -> list[SpreadTest]:
    """Both claims on one metric: the first at each label rate, the second for each model."""
    less = [_less_variance(comparison, rates.tau) for comparison in rates.comparisons]
    falls = [
        _falls_with_labels(panel, tau)
        for dataset in rates.datasets
        for regulariser in rates.regularisers
        if (panel := rates.panel(dataset, regulariser))
        for tau in (BASELINE_TAU, rates.tau)
    ]
    return [
        test._replace(p_holm=p)
        for tests in (less, falls)
        for test, p in zip(tests, holm([test.p_value for test in tests]), strict=True)
    ]


def spread_frame(figures: Iterable[LabelRates]) -> pd.DataFrame:
    """One row a test: what SpreadTest has, `compared` and `stds` in words, and whether the claim holds."""
    rows = [
        {
            **test._asdict(),
            "compared": ", ".join(test.compared),
            "stds": " ".join(f"{std:.6g}" for std in test.stds),
            "holds": test.holds,
        }
        for rates in figures
        for test in spread_tests(rates)
    ]
    return pd.DataFrame(rows)


def spread_table(rates: LabelRates) -> str:
    """A table for the terminal: a line a test."""
    name = written(rates.metric)
    tests = spread_tests(rates)
    lines = []
    for claim, how in (
        (LESS_VARIANCE, "Pitman–Morgan over paired seeds, assumed bivariate normal"),
        (FALLS_WITH_LABELS, "Brown–Forsythe of fewest and most labels, assumed independent"),
    ):
        lines.append(f"{name}, {claim}: standard deviations over seeds; {how}; p Holm-corrected")
        for test in tests:
            if test.claim == claim:
                stds = "  ".join(f"{what}: {std:.3f}" for what, std in zip(test.compared, test.stds, strict=True))
                where = f"{written(test.dataset)} {written(test.regulariser)} {test.subject}"
                lines.append(f"    {where:<30} {stds}   p {p_text(test.p_value, test.p_holm, starred=test.holds)}")
    return "\n".join(lines)


def _less_variance(c: Comparison, tau: float) -> SpreadTest:
    baseline, larvae = zip(*c.pairs, strict=True) if c.pairs else ((), ())
    return SpreadTest(
        claim=LESS_VARIANCE,
        dataset=c.dataset,
        regulariser=c.regulariser,
        metric=c.metric,
        subject=_rate(c),
        compared=(f"τ = {BASELINE_TAU:g}", f"τ = {tau:g}"),
        stds=(mean_interval(baseline).std, mean_interval(larvae).std),
        p_value=pitman_morgan_p_value(baseline, larvae),
        p_holm=math.nan,
    )


def _falls_with_labels(panel: Sequence[Comparison], tau: float) -> SpreadTest:
    """panel: of one data set and regulariser, label rates ascending."""
    ends = [panel[0], *panel[1:][-1:]]
    sides = [c.baseline if tau == BASELINE_TAU else c.larvae for c in ends]
    return SpreadTest(
        claim=FALLS_WITH_LABELS,
        dataset=panel[0].dataset,
        regulariser=panel[0].regulariser,
        metric=panel[0].metric,
        subject=f"τ = {tau:g}",
        compared=tuple(map(_rate, ends)),
        stds=tuple(side.interval.std for side in sides),
        p_value=brown_forsythe_p_value([side.seed_results for side in sides]),
        p_holm=math.nan,
    )


def _rate(c: Comparison) -> str:
    return f"η = {100 * c.label_rate:g} %"
