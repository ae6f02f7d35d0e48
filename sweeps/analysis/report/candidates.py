"""Settings of a study as candidates for its best, and how far the best is from others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from larvae.metrics import SCORES, held_out
from sweeps.analysis.estimates import DRAWN_METRICS, Interval, has_result, mean_interval
from sweeps.analysis.idle_fields import idle_at_zero
from sweeps.analysis.parameters import setting_name, symbol, value_text
from sweeps.analysis.report.study_record import StudyRecord
from sweeps.analysis.search.ranking import SearchResult
from sweeps.tracking.mlflow_names import FINISHED

_STRATA = ("dataset", "label_rate")
"""Fields that are part of the problem, not of its solution: the best is told for each of their values."""


class Candidate(NamedTuple):
    """A setting: members that differ in their seeds alone."""

    name: str
    short_name: str
    values: dict[str, Any]
    hashes: tuple[str, ...]
    num_planned: int
    results: Mapping[str, Mapping[Any, float]]
    """Results of finished members by metric, then by seed."""

    def interval(self, metric: str) -> Interval:
        return mean_interval(list(self.results[metric].values()))


class Contrast(NamedTuple):
    """The best candidate against another one, over the seeds that both have."""

    other: Candidate
    num_pairs: int
    difference: Interval
    """Best minus other."""


class Finding(NamedTuple):
    """The best candidate of one metric where data set and label rate are the same."""

    stratum: Mapping[str, Any]
    """Data set and label rate, as far as the study varies them."""
    metric: str
    num_candidates: int
    """Candidates with a result."""
    best: Candidate
    interval: Interval
    runner_up: Contrast | None
    lowest: Contrast | None
    """Against the lowest value of `parameter`, all else equal; None where there is none, or it is the best."""
    parameter: str


def short_name(values: Mapping[str, Any]) -> str:
    """A setting in few letters, such as `τ=1, η=0.01, bernoulli`."""
    parts = []
    for name, value in values.items():
        is_word = isinstance(value, str) and value_text(value) not in ("True", "False")
        parts.append(value_text(value) if is_word else f"{symbol(name)}={value_text(value)}")
    return ", ".join(parts) or "the only setting"


def higher_is_better(metric: str) -> bool:
    """Tell which way a metric is better, also where it is of held-out labels."""
    names = {held_out(name): name for name in SCORES}
    return SCORES[names.get(metric, metric)].higher_is_better


def main_metrics(record: StudyRecord) -> list[str]:
    """Metrics that the study is judged by, best known first: a search's objectives, else MIG and ℓ2."""
    if record.search:
        return [held_out(name) for name in record.search.objectives]
    return [name for name in DRAWN_METRICS if has_result(record.members, name).any()]


def candidates(record: StudyRecord) -> list[Candidate]:
    """The settings of a study in the order of their values; of a search its finished configurations."""
    if record.search:
        return _configurations(record.search)
    groups: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    for row in record.members.to_dict("records"):  # in the order of their parameters
        groups.setdefault(tuple(_comparable(row[name]) for name in record.fields), []).append(row)
    return [_candidate(record.fields, rows) for rows in groups.values()]


def _comparable(value: Any) -> Any:
    """A value by which members are grouped: NaN is none."""
    return None if pd.isna(value) else value


def _candidate(fields: Sequence[str], rows: Sequence[dict[Any, Any]]) -> Candidate:
    values = {name: rows[0][name] for name in fields}
    of_seed: dict[Any, list[dict[Any, Any]]] = {}
    for row in rows:
        of_seed.setdefault(row["seed"], []).append(row)
    results = {metric: _seed_results(of_seed, metric) for metric in DRAWN_METRICS}
    hashes = tuple(str(row["hash"]) for row in rows)
    return Candidate(setting_name(values), short_name(values), values, hashes, len(of_seed), results)


def _seed_results(of_seed: Mapping[Any, Sequence[dict[Any, Any]]], metric: str) -> dict[Any, float]:
    """One value a seed whose labelled sets all have a result: their mean, as sets are no further seeds."""
    known = {
        seed: [float(row[metric]) for row in rows if row["status"] == FINISHED and not pd.isna(row[metric])]
        for seed, rows in of_seed.items()
    }
    return {seed: sum(some) / len(some) for seed, some in known.items() if len(some) == len(of_seed[seed])}


def _configurations(search: SearchResult) -> list[Candidate]:
    found = []
    for configuration in search.finished:
        seeds = [seed for seed in configuration.seeds if seed.has_finished and seed.values]
        results = {
            held_out(name): {seed.seed: seed.values[place] for seed in seeds}
            for place, name in enumerate(search.objectives)
        }
        name, short = (f"#{configuration.number}: {f(configuration.fields)}" for f in (setting_name, short_name))
        hashes = tuple(seed.hash for seed in configuration.seeds)
        found.append(Candidate(name, short, dict(configuration.fields), hashes, len(hashes), results))
    return found


def ranked(found: Sequence[Candidate], metric: str) -> list[Candidate]:
    """Candidates that have results of a metric, best mean first."""
    having = [candidate for candidate in found if candidate.results[metric]]
    return sorted(having, key=lambda c: c.interval(metric).mean, reverse=higher_is_better(metric))


def contrast(best: Candidate, other: Candidate, metric: str) -> Contrast:
    """Compare two candidates over their common seeds; without common ones, their means, without an interval."""
    ours, theirs = best.results[metric], other.results[metric]
    pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if pairs:
        return Contrast(other, len(pairs), mean_interval(pairs))
    apart = best.interval(metric).mean - other.interval(metric).mean
    return Contrast(other, 0, Interval(apart, math.nan, math.nan, math.nan))


def findings(record: StudyRecord) -> list[Finding]:
    """The best of each data set and label rate, by each of the study's metrics; none where nothing has finished."""
    found = candidates(record)
    strata: dict[tuple[Any, ...], list[Candidate]] = {}
    apart = [] if record.search else [name for name in _STRATA if name in record.fields]
    if len(apart) == len(record.fields):  # it varies nothing else: they are what is compared
        apart = []
    for candidate in found:
        strata.setdefault(tuple(candidate.values[name] for name in apart), []).append(candidate)
    return [
        _finding(dict(zip(apart, values, strict=True)), some, metric, record.fields)
        for metric in main_metrics(record)
        for values, some in strata.items()
        if ranked(some, metric)
    ]


def _finding(stratum: Mapping[str, Any], some: Sequence[Candidate], metric: str, fields: Sequence[str]) -> Finding:
    best, *others = ranked(some, metric)
    parameter = main_parameter(some, fields)
    alike = [other for other in others if parameter and _differ_in_no_other(other, best, parameter)]
    lowest = min(alike, key=lambda c: c.values[parameter], default=None)
    if lowest and lowest.values[parameter] > best.values[parameter]:
        lowest = None
    return Finding(
        stratum=stratum,
        metric=metric,
        num_candidates=1 + len(others),
        best=best,
        interval=best.interval(metric),
        runner_up=contrast(best, others[0], metric) if others else None,
        lowest=contrast(best, lowest, metric) if lowest else None,
        parameter=parameter,
    )


def _differ_in_no_other(one: Candidate, other: Candidate, parameter: str) -> bool:
    """Tell that two settings are one but for a parameter, and what has no effect where that is 0."""
    is_zero = 0 in (one.values[parameter], other.values[parameter])
    left_out = (parameter, *(idle_at_zero(parameter) if is_zero else ()))
    return all(value == other.values[name] for name, value in one.values.items() if name not in left_out)


def main_parameter(some: Sequence[Candidate], fields: Sequence[str]) -> str:
    """The field whose lowest value is a baseline: τ, else the first of numbers; empty where there is none."""
    numeric = [
        name
        for name in fields
        if name not in _STRATA and len({c.values[name] for c in some}) > 1 and _are_numbers(some, name)
    ]
    return "tau" if "tau" in numeric else next(iter(numeric), "")


def _are_numbers(some: Sequence[Candidate], name: str) -> bool:
    return all(not isinstance(c.values[name], str | bool) and not pd.isna(c.values[name]) for c in some)
