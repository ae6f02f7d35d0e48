"""Evidence on a number that a claim bounds: an estimate, an interval, and a test on either side.

A claim says that its number lies above a bound. It holds where the number is above `bounds.holds_above`, and does not
where it is below `bounds.fails_below`; each is tested by itself, one-sided, and in between nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from sweeps.analysis.comparisons import FEWEST_SEEDS, ROUNDING
from sweeps.analysis.estimates import CONFIDENCE, mean_interval

FEWEST_SEEDS_OF_CHOICE = 2 * FEWEST_SEEDS - 1
"""The same where some choose for the others to judge: one less than these do."""
POWER = 0.8
"""Probability with which the seeds that are told as needed decide, if the number is what it seems to be."""


class Bounds(NamedTuple):
    """Bounds of a claim's number; between the two it is undecided."""

    holds_above: float = 0.0
    fails_below: float = 0.0


class Evidence(NamedTuple):
    """One number that a claim bounds, from the seeds that have all members it is made of."""

    subject: str
    """The number in words, such as `MIG: τ > 0 less τ = 0`."""
    bounds: Bounds
    num_seeds: int
    effect: float = math.nan
    low: float = math.nan
    """Ends of the interval, which is not corrected."""
    high: float = math.nan
    p_holds: float = math.nan
    """Twice the one-sided p of the number lying above `holds_above`; NaN where there is no test."""
    p_fails: float = math.nan
    """The same of its lying below `fails_below`."""
    signal: float = math.nan
    """Distance from the bound that the number points beyond, in standard deviations of what a seed tells."""
    num_choosing: int = 0
    """Further seeds, as many as these or one less, that chose what is judged."""
    num_groups: int = 0
    """Groups of seeds whose deviations were pooled; 0 for means."""
    num_planned: int = 0
    """Seeds of which anything is known: of a study in MLflow, of all that were planned."""
    left_out: tuple[str, ...] = ()
    """Values of fields that were, too, but too few seeds have, such as `τ = 10`."""

    @property
    def is_ratio(self) -> bool:
        """True for a ratio of standard deviations, False for a mean."""
        return self.num_groups > 0

    @property
    def is_constant(self) -> bool:
        """True where seeds are enough for a test, but all of one value: without spread there is none."""
        return self.num_seeds >= FEWEST_SEEDS and math.isnan(self.p_holds)

    def seeds_needed(self, num_tests: float) -> int | None:
        """Seeds that would decide with probability POWER, as one of several tests; None where that is not known.

        Of means by Guenther's approximation (1981) for the t-test, of spreads by Fisher's transformation of their
        correlation; corrected by Bonferroni, so that it is rather too many.
        """
        if not self.signal > 0:
            return None
        judging = self._judging_seeds_needed(num_tests)
        return 2 * judging if self.num_choosing else judging

    def _judging_seeds_needed(self, num_tests: float) -> int:
        critical = float(stats.norm.isf((1 - CONFIDENCE) / 2 / num_tests))
        needed = ((critical + float(stats.norm.isf(1 - POWER))) / self.signal) ** 2
        if self.is_ratio:
            return max(FEWEST_SEEDS, math.ceil((needed + 2) / self.num_groups) + 1)
        return max(FEWEST_SEEDS, math.ceil(needed + critical**2 / 2))


def of_mean(subject: str, values: Sequence[float], bounds: Bounds) -> Evidence:
    """The mean of one value a seed: Student's t."""
    interval = mean_interval(values)
    evidence = Evidence(subject, bounds, len(values), interval.mean, interval.low, interval.high)
    if len(values) < FEWEST_SEEDS or np.ptp(values) <= ROUNDING:
        return evidence
    bound = bounds.holds_above if interval.mean > bounds.holds_above else bounds.fails_below
    return evidence._replace(
        p_holds=_doubled(stats.ttest_1samp(values, bounds.holds_above, alternative="greater").pvalue),
        p_fails=_doubled(stats.ttest_1samp(values, bounds.fails_below, alternative="less").pvalue),
        signal=abs(interval.mean - bound) / interval.std,
    )


def of_spread(subject: str, groups: Sequence[tuple[Sequence[float], Sequence[float]]], bounds: Bounds) -> Evidence:
    """The ratio of two standard deviations over seeds, of the first of two paired samples to the second.

    groups: pairs of samples, such as one a label rate, whose deviations from their means are pooled. By the correlation
    of sums with differences (Pitman, 1939; Morgan, 1939), which is Student's with one degree of freedom less a group;
    pairs are assumed to be bivariate normal, and groups independent, which those of one seed are not quite.
    """
    num_seeds = min((len(first) for first, _ in groups), default=0)
    groups = [(first, second) for first, second in groups if len(first) > 1]
    first, second = (np.concatenate([_centred(group[side]) for group in groups] or [np.zeros(0)]) for side in (0, 1))
    freedom = len(first) - len(groups) - 1
    if num_seeds < FEWEST_SEEDS or min(np.ptp(first), np.ptp(second)) <= ROUNDING:
        return Evidence(subject, bounds, num_seeds, num_groups=len(groups))
    ratio = float(np.sqrt(np.sum(first**2) / np.sum(second**2)))
    correlation = np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2))
    critical = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    k = 1 + 2 * critical**2 * max(0.0, 1 - float(correlation) ** 2) / freedom
    bound = bounds.holds_above if ratio > bounds.holds_above else bounds.fails_below
    return Evidence(
        subject,
        bounds,
        num_seeds,
        effect=ratio,
        low=ratio * math.sqrt(k - math.sqrt(k**2 - 1)),
        high=ratio * math.sqrt(k + math.sqrt(k**2 - 1)),
        p_holds=_doubled(stats.t.sf(_statistic(first, second, bounds.holds_above, freedom), freedom)),
        p_fails=_doubled(stats.t.cdf(_statistic(first, second, bounds.fails_below, freedom), freedom)),
        signal=math.atanh(min(abs(_correlation(first, second, bound)), 1 - 1e-9)),
        num_groups=len(groups),
    )


def weakest(parts: Iterable[Evidence]) -> Evidence:
    """The number that speaks least for its claim: of those without a test the one that is farthest below its bound."""

    def rank(part: Evidence) -> tuple[float, float]:
        below = part.bounds.holds_above - part.effect
        return (2.0, math.inf if math.isnan(below) else below) if math.isnan(part.p_holds) else (part.p_holds, below)

    return max(parts, key=rank)


def _centred(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, np.float64) - np.mean(values)


def _correlation(first: np.ndarray, second: np.ndarray, ratio: float) -> float:
    """Correlation of sum and difference where the second is scaled by a ratio: 0 if that is the ratio of the two."""
    sums, differences = first + ratio * second, first - ratio * second
    if min(np.ptp(sums), np.ptp(differences)) <= ROUNDING:  # one is the other times the ratio
        return 0.0
    return float(np.sum(sums * differences) / np.sqrt(np.sum(sums**2) * np.sum(differences**2)))


def _statistic(first: np.ndarray, second: np.ndarray, ratio: float, freedom: int) -> float:
    r = min(max(_correlation(first, second, ratio), -1 + 1e-12), 1 - 1e-12)
    return r * math.sqrt(freedom / (1 - r**2))


def _doubled(p_value: Any) -> float:
    return float(np.minimum(1.0, 2 * p_value))  # NaN stays
