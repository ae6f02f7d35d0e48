"""Members to numbers: means and confidence intervals over seeds, and which members are missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from larvae.errors import InvalidInputError
from sweeps.analysis.load import LOGGED_METRICS, other_parameters, varied_parameters
from sweeps.analysis.names import in_order, written
from sweeps.analysis.parameters import Parameter, value_text, varies
from sweeps.analysis.references import Reference, reference
from sweeps.tracking.mlflow_names import FINISHED

CONFIDENCE = 0.95
DRAWN_METRICS = ("mig", "l2")
"""Metrics that a sensitivity figure shows, as far as they were measured."""


SETTLED = 10_000
"""Iterations below which another seed or budget has turned curves of ours around."""


class Interval(NamedTuple):
    """Mean, confidence interval and sample standard deviation (n − 1); NaN where seeds are too few."""

    mean: float
    low: float
    high: float
    std: float


class Estimate(NamedTuple):
    """One metric at one value of the parameter and one label rate."""

    label_rate: float
    value: float | str
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

    identity: tuple[str, str]
    configuration: str
    status: str
    reason: str

    @property
    def description(self) -> str:
        """The member in words, such as `τ=5 η=0.01 seed 1 (FAILED: loss is NaN)`."""
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.configuration} ({self.status}{reason})"


class Sensitivity(NamedTuple):
    """The content of a sensitivity figure."""

    study: str
    setting: str
    """Setting that tells its members from the study's others; empty where there are none."""
    parameter: Parameter
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    """Those of DRAWN_METRICS that were measured."""
    references: dict[str, Reference]
    """References by metric; none where there are several data sets."""
    iterations: tuple[int, ...]
    """Distinct numbers of iterations of the members with a result, ascending; more than one is a mixed budget."""
    identities: frozenset[tuple[str, str]]
    """Its members; settings may have some in common."""
    estimates: tuple[Estimate, ...]
    missing: tuple[MissingMember, ...]

    @property
    def values(self) -> list[Any]:
        """Categories of the x axis: numbers in their order, names in the paper's."""
        values: list[Any] = list(dict.fromkeys(estimate.value for estimate in self.estimates))
        return in_order(values) if any(isinstance(value, str) for value in values) else sorted(values)

    @property
    def label_rates(self) -> list[float]:
        """Label rates, a line each; none where they are the parameter."""
        if self.parameter.name == "label_rate":
            return []
        return sorted({estimate.label_rate for estimate in self.estimates})

    @property
    def num_seeds(self) -> int:
        """Seeds of the point that has most."""
        return max(estimate.num_seeds for estimate in self.estimates)

    @property
    def heading(self) -> str:
        """The heading, such as `tau-sweep: dSprites, 4,000 iterations`."""
        setting = f", {self.setting}" if self.setting else ""
        return f"{self.study}: {', '.join(map(written, self.datasets))}, {budget_text(self.iterations)}{setting}"


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of independent values with Student's t-interval; from one value no interval, from none no mean."""
    if not values:
        return Interval(math.nan, math.nan, math.nan, math.nan)
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan, math.nan)
    std = float(np.std(values, ddof=1))
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * std / math.sqrt(len(values))
    return Interval(mean, mean - half_width, mean + half_width, std)


def has_result(members: pd.DataFrame, metric: str) -> pd.Series[bool]:
    """Mark the members that have finished with a value of the metric."""
    return (members["status"] == FINISHED) & members[metric].notna()


def measured(study: str, members: pd.DataFrame, metrics: Iterable[str]) -> tuple[str, ...]:
    """Those of the metrics that a finished member has. Raises InvalidInputError when there is none."""
    found = tuple(metric for metric in metrics if has_result(members, metric).any())
    if not found:
        counts = ", ".join(f"{count} {status}" for status, count in members["status"].value_counts().items())
        raise InvalidInputError(f"`study` must have a finished member with results, got {study} with {counts}")
    return found


def plain_value(value: Any) -> float | str:
    """A value of a field as a place on an axis: a number, or a name, as True and False are."""
    return str(value) if isinstance(value, str | bool | np.bool_) else float(value)


def estimate(cell: pd.DataFrame, label_rate: float, value: Any, metric: str) -> Estimate:
    """Summarise the members at one label rate and value of the parameter, a row a seed."""
    seed_results = tuple(float(result) for result in cell.loc[has_result(cell, metric), metric])
    return Estimate(float(label_rate), plain_value(value), metric, len(cell), seed_results, mean_interval(seed_results))


def estimate_sensitivity(study: str, members: pd.DataFrame, parameter: Parameter, setting: str = "") -> Sensitivity:
    """Summarise `load_members` over seeds, at each label rate and value of the parameter.

    setting: what tells the members from the study's others.

    Raises InvalidInputError unless members vary the parameter, nothing else beside label rate and seed
    (a mean would mix configurations), and one of them has finished.
    """
    others = other_parameters(members, parameter.name)
    if others or not varies(members, parameter.name):
        rule = f"members of `study` must vary {parameter.name} and, beside label rate and seed, nothing else"
        raise InvalidInputError(f"{rule}, got {study} that varies {', '.join(varied_parameters(members)) or 'nothing'}")
    metrics, logged = measured(study, members, DRAWN_METRICS), measured(study, members, LOGGED_METRICS)
    rates = [] if parameter.name == "label_rate" else ["label_rate"]
    cells = [cell for _, cell in members.groupby([*rates, parameter.name])]
    return Sensitivity(
        study=study,
        setting=setting,
        parameter=parameter,
        datasets=tuple(in_order(members["dataset"])),
        metrics=metrics,
        references={metric: known for metric in metrics if (known := reference(members, metric))},
        iterations=budgets(members, metrics),
        identities=frozenset(identities(members)),
        estimates=tuple(
            estimate(cell, cell["label_rate"].iloc[0], cell[parameter.name].iloc[0], metric)
            for cell in cells
            for metric in logged
        ),
        missing=missing_members(members, metrics, lambda row: _with_study(row, parameter)),
    )


def _with_study(row: pd.Series, parameter: Parameter) -> str:
    study = f"{row['study']}: " if "study" in row else ""
    return f"{study}{parameter.symbol}={value_text(row[parameter.name])}"


def identities(members: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs that tell members apart: their study, where there are several, and their hash."""
    studies = members["study"] if "study" in members else [""] * len(members)
    return list(zip(studies, members["hash"], strict=True))


def all_missing(sensitivities: Iterable[Sensitivity]) -> list[MissingMember]:
    """The missing members of several settings, each once: a baseline may be of all."""
    return list({member.identity: member for one in sensitivities for member in one.missing}.values())


def budgets(members: pd.DataFrame, metrics: Iterable[str]) -> tuple[int, ...]:
    """Distinct numbers of iterations of the members with a result, ascending."""
    having = pd.concat([members[has_result(members, metric)] for metric in metrics])
    return tuple(sorted({int(number) for number in having["iterations"]}))


def budget_text(iterations: Sequence[int]) -> str:
    """The training budget in words, such as `4,000 iterations`; says when members were trained for unequal times."""
    fewest, most = iterations[0], iterations[-1]
    return f"{most:,} iterations" if fewest == most else f"unequal budgets, {fewest:,} to {most:,} iterations"


def caution(iterations: Sequence[int]) -> list[str]:
    """The caution that results need after so few iterations; nothing where there are enough."""
    if min(iterations) >= SETTLED:
        return []
    return ["After so few of the paper's 1,000,000 iterations, longer training may change any difference."]


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


def members_frame(members: pd.DataFrame, parameters: Sequence[str]) -> pd.DataFrame:
    """The columns of `load_members` that a members' CSV keeps, every member whatever its status."""
    configuration = ["name", "hash", *(name for name in parameters if name != "label_rate"), "label_rate", "seed"]
    logged = [metric for metric in LOGGED_METRICS if members[metric].notna().any()]
    return members[[*configuration, "status", "iterations", *logged, "reason"]]


def means_table(sensitivity: Sensitivity) -> str:
    """A table for the terminal: a line for each label rate and value, mean and interval of MIG and ℓ2."""
    texts = [sensitivity.parameter.symbol, *map(value_text, sensitivity.values)]
    width = max(7, *(len(text) + 2 for text in texts))
    contents = f"mean [{100 * CONFIDENCE:g} % t-interval]" if sensitivity.num_seeds > 1 else "one seed"
    names = "   ".join(f"{written(metric):<22}" for metric in sensitivity.metrics).rstrip()
    lines = [
        f"{sensitivity.heading}; {contents}",
        f"{'η':>7}{sensitivity.parameter.symbol:>{width}}{'seeds':>8}   {names}",
    ]
    columns = [[e for e in sensitivity.estimates if e.metric == metric] for metric in sensitivity.metrics]
    for first, *others in zip(*columns, strict=True):
        seeds = f"{first.num_seeds}/{first.num_planned}"
        cells = "   ".join(f"{interval_text(e.interval):<22}" for e in (first, *others)).rstrip()
        lines.append(f"{100 * first.label_rate:>5g} %{value_text(first.value):>{width}}{seeds:>8}   {cells}")
    return "\n".join(lines)


def interval_text(interval: Interval) -> str:
    """An interval in words, such as `0.210 [0.083, 0.337]`."""
    if math.isnan(interval.mean):
        return "-"
    bounds = "" if math.isnan(interval.std) else f" [{interval.low:.3f}, {interval.high:.3f}]"
    return f"{interval.mean:.3f}{bounds}"


def missing_members(
    members: pd.DataFrame, metrics: Sequence[str], describe: Callable[[pd.Series], str]
) -> tuple[MissingMember, ...]:
    """The members that lack a result of some metric; `describe` writes their configuration without rate and seed.

    A metric that no finished member of a data set has is none of that data set's.
    """
    missing = []
    known = {
        name: [metric for metric in metrics if has_result(some, metric).any()]
        for name, some in members.groupby("dataset")
    }
    for identity, (_, row) in zip(identities(members), members.iterrows(), strict=True):
        lacks = [metric for metric in known[row["dataset"]] if pd.isna(row[metric])]
        absent = [written(metric) for metric in (metrics if row["status"] != FINISHED else lacks)]
        if absent:
            reason = f"no {' or '.join(absent)}" if row["status"] == FINISHED else row["reason"]
            configuration = f"{describe(row)} η={row['label_rate']:g} seed {row['seed']}"
            missing.append(MissingMember(identity, configuration, row["status"], reason))
    return tuple(missing)
