"""Members to numbers: means and confidence intervals over seeds, and which members are missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from analysis.load import FINISHED, METRICS, varied_parameters
from larvae.errors import InvalidInputError

CONFIDENCE = 0.95
DRAWN_METRICS = ("mig", "l2")
"""A member without one of these has no result."""


class Parameter(NamedTuple):
    """A swept field of MemberConfig: its name and how people write it."""

    name: str
    symbol: str


TAU = Parameter("tau", "τ")


class Interval(NamedTuple):
    """Mean, confidence interval and sample standard deviation (n − 1); NaN where seeds are too few."""

    mean: float
    low: float
    high: float
    std: float


class Estimate(NamedTuple):
    """One metric at one value of the parameter and one label rate."""

    label_rate: float
    value: float
    metric: str
    num_planned: int
    seed_results: tuple[float, ...]
    interval: Interval

    @property
    def num_seeds(self) -> int:
        return len(self.seed_results)

    @property
    def is_complete(self) -> bool:
        return self.num_seeds == self.num_planned


class MissingMember(NamedTuple):
    """A planned member without a result."""

    value: float
    label_rate: float
    seed: int
    status: str
    reason: str


class Reference(NamedTuple):
    """A value to compare a metric with."""

    value: float
    label: str


class Sensitivity(NamedTuple):
    """What a sensitivity figure shows."""

    study: str
    parameter: Parameter
    dataset: str
    iterations: tuple[int, ...]
    """Distinct numbers of iterations of the members with a result, ascending; more than one is a mixed budget."""
    num_members: int
    estimates: tuple[Estimate, ...]
    missing: tuple[MissingMember, ...]

    @property
    def values(self) -> list[float]:
        """Categories of the x axis, in numerical order."""
        return sorted({estimate.value for estimate in self.estimates})

    @property
    def label_rates(self) -> list[float]:
        return sorted({estimate.label_rate for estimate in self.estimates})

    @property
    def num_seeds(self) -> int:
        """Seeds of the point that has most."""
        return max(estimate.num_seeds for estimate in self.estimates)

    @property
    def heading(self) -> str:
        """For example `tau-sweep: dsprites, 4,000 iterations`."""
        fewest, most = self.iterations[0], self.iterations[-1]
        budget = f"{most:,} iterations" if fewest == most else f"unequal budgets, {fewest:,} to {most:,} iterations"
        return f"{self.study}: {self.dataset}, {budget}"

    def reference(self, metric: str) -> Reference | None:
        return _REFERENCES.get((self.dataset, metric))

    def describe(self, member: MissingMember) -> str:
        """For example `τ=5 η=0.01 seed 1 (FAILED: loss is NaN)`."""
        reason = f": {member.reason}" if member.reason else ""
        configuration = f"{self.parameter.symbol}={member.value:g} η={member.label_rate:g} seed {member.seed}"
        return f"{configuration} ({member.status}{reason})"


_REFERENCES = {
    ("dsprites", "mig"): Reference(0.896, "ceiling"),  # perfect codes in 20 bins: .802 to .998 a factor
    ("dsprites", "l2"): Reference(0.725, "predicting the mean"),
}


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean of independent values with Student's t-interval; from one value no interval, from none no mean."""
    if not values:
        return Interval(math.nan, math.nan, math.nan, math.nan)
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan, math.nan)
    std = float(np.std(values, ddof=1))
    half_width = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * std / math.sqrt(len(values))
    return Interval(mean, mean - half_width, mean + half_width, std)


def estimate_sensitivity(study: str, members: pd.DataFrame, parameter: Parameter) -> Sensitivity:
    """Summarise `load_members` over seeds, at each label rate and value of the parameter.

    Raises InvalidInputError unless members vary the parameter, nothing else beside label rate and seed
    (a mean would mix configurations), and one of them has finished.
    """
    varied = varied_parameters(members)
    if varied != [parameter.name]:
        rule = f"members of `study` must vary {parameter.name} and, beside label rate and seed, nothing else"
        raise InvalidInputError(f"{rule}, got {study} that varies {', '.join(varied) or 'nothing'}")
    has_result = (members["status"] == FINISHED) & members[list(DRAWN_METRICS)].notna().all(axis=1)
    if not has_result.any():
        counts = ", ".join(f"{count} {status}" for status, count in members["status"].value_counts().items())
        raise InvalidInputError(f"`study` must have a finished member, got {study} with {counts}")
    cells = members.assign(has_result=has_result).groupby(["label_rate", parameter.name])
    return Sensitivity(
        study=study,
        parameter=parameter,
        dataset=str(members["dataset"].iloc[0]),
        iterations=tuple(sorted({int(number) for number in members.loc[has_result, "iterations"]})),
        num_members=len(members),
        estimates=tuple(_estimate(cell, parameter, metric) for _, cell in cells for metric in METRICS),
        missing=tuple(_missing(row, parameter) for _, row in members[~has_result].iterrows()),
    )


def summary_frame(sensitivity: Sensitivity) -> pd.DataFrame:
    """One row a label rate, value and metric: num_seeds, mean, ci_low, ci_high and std."""
    rows = [
        {
            "label_rate": estimate.label_rate,
            sensitivity.parameter.name: estimate.value,
            "metric": estimate.metric,
            "num_seeds": estimate.num_seeds,
            "mean": estimate.interval.mean,
            "ci_low": estimate.interval.low,
            "ci_high": estimate.interval.high,
            "std": estimate.interval.std,
        }
        for estimate in sensitivity.estimates
    ]
    return pd.DataFrame(rows)


def members_frame(members: pd.DataFrame, parameter: Parameter) -> pd.DataFrame:
    """The columns of `load_members` that the members' CSV keeps, every member whatever its status."""
    configuration = ["name", "hash", parameter.name, "label_rate", "seed"]
    return members[[*configuration, "status", "iterations", *METRICS, "reason"]]


def means_table(sensitivity: Sensitivity) -> str:
    """A table for the terminal: a line for each label rate and value, mean and interval of MIG and ℓ2."""
    mig, l2 = ([e for e in sensitivity.estimates if e.metric == metric] for metric in DRAWN_METRICS)
    contents = f"mean [{100 * CONFIDENCE:g} % t-interval]" if sensitivity.num_seeds > 1 else "one seed"
    lines = [
        f"{sensitivity.heading}; {contents}",
        f"{'η':>7}{sensitivity.parameter.symbol:>7}{'seeds':>8}   {'MIG':<22}   ℓ2",
    ]
    for left, right in zip(mig, l2, strict=True):
        seeds = f"{left.num_seeds}/{left.num_planned}"
        cells = f"{_interval_text(left.interval):<22}   {_interval_text(right.interval)}"
        lines.append(f"{100 * left.label_rate:>5g} %{left.value:>7g}{seeds:>8}   {cells}")
    return "\n".join(lines)


def _estimate(cell: pd.DataFrame, parameter: Parameter, metric: str) -> Estimate:
    results = cell.loc[cell["has_result"], metric].dropna()
    seed_results = tuple(float(result) for result in results)
    return Estimate(
        label_rate=float(cell["label_rate"].iloc[0]),
        value=float(cell[parameter.name].iloc[0]),
        metric=metric,
        num_planned=len(cell),
        seed_results=seed_results,
        interval=mean_interval(seed_results),
    )


def _missing(row: pd.Series, parameter: Parameter) -> MissingMember:
    reason = row["reason"] or ("no MIG or ℓ2" if row["status"] == FINISHED else "")
    return MissingMember(row[parameter.name], row["label_rate"], row["seed"], row["status"], reason)


def _interval_text(interval: Interval) -> str:
    if math.isnan(interval.mean):
        return "-"
    bounds = "" if math.isnan(interval.std) else f" [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{interval.mean:.3f}{bounds}"
