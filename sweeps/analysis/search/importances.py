"""A search as an Optuna study: importances of its parameters, and a journal that optuna-dashboard opens."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from larvae.metrics import held_out
from sweeps.adaptive.sampling import Observation, Sampler
from sweeps.analysis.search.load_search import SearchRecord
from sweeps.analysis.search.ranking import ConfigurationResult, SearchResult

FEWEST = 2
"""Finished configurations that importances can be asked of."""
FANOVA, PED_ANOVA = "fANOVA", "PED-ANOVA"

_BEST = 5  # configurations that PED-ANOVA sets against all; with fewer it is unstable, says Optuna
_PARTS = 8


class Importance(NamedTuple):
    """The share of an objective that a parameter decides, by one method; a method's importances sum to 1."""

    objective: str
    method: str
    parameter: str
    share: float
    low: float
    """Least and most, `high`, when each eighth of the configurations is left out in turn; NaN below eight."""
    high: float


class Importances(NamedTuple):
    """Importances of all parameters for all objectives."""

    num_configurations: int
    """Finished ones, on which they rest."""
    num_best: int
    """PED-ANOVA asks what tells this many best ones from all."""
    importances: tuple[Importance, ...]
    """None where there are too few configurations, or their values are equal."""


def importances(search: SearchResult) -> Importances:
    """Ask fANOVA and PED-ANOVA, of the finished configurations and their means over seeds."""
    finished = search.finished
    num_best = min(_BEST, len(finished) // 2)
    found: list[Importance] = []
    if len(finished) >= FEWEST:
        for objective in range(len(search.objectives)):
            found += _of_method(search, finished, objective, FANOVA, FanovaImportanceEvaluator(seed=0))
            evaluator = PedAnovaImportanceEvaluator(target_quantile=num_best / len(finished))
            found += _of_method(search, finished, objective, PED_ANOVA, evaluator)
    return Importances(len(finished), num_best, tuple(found))


def _of_method(
    search: SearchResult,
    finished: Sequence[ConfigurationResult],
    objective: int,
    method: str,
    evaluator: BaseImportanceEvaluator,
) -> list[Importance]:
    shares = _shares(search, finished, objective, evaluator)
    parts = range(_PARTS if len(finished) >= _PARTS else 0)
    others = [
        _shares(search, [c for place, c in enumerate(finished) if place % _PARTS != part], objective, evaluator)
        for part in parts
    ]
    return [
        Importance(
            search.objectives[objective],
            method,
            name,
            share,
            min((other[name] for other in others if name in other), default=math.nan),
            max((other[name] for other in others if name in other), default=math.nan),
        )
        for name, share in shares.items()
    ]


def _shares(
    search: SearchResult, finished: Sequence[ConfigurationResult], objective: int, evaluator: BaseImportanceEvaluator
) -> dict[str, float]:
    """Importances of one objective; none where all values are equal or no tree of fANOVA can split them."""
    if len({c.values[objective] for c in finished}) < 2:
        return {}
    study = _sampler(search).study([_observation(c) for c in finished])
    sign = search.signs[objective]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lower must be better, which it is here
        try:
            found = get_param_importances(
                study, evaluator=evaluator, target=lambda trial: -sign * trial.values[objective]
            )
        except RuntimeError:
            return {}
    return {name: float(found[name]) for name in search.space.parameters if name in found}


def journal(record: SearchRecord, search: SearchResult) -> bytes:
    """Content of a file that `optuna-dashboard FILE` opens: the study with a trial a configuration, in their order.

    Failed configurations are failed trials, running ones are running. Seeds, standard deviations and the searched
    fields are user attributes; with one objective, trials have their means over the first seeds as learning curves.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=search.study,
            directions=_sampler(search).study([]).directions,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([held_out(name) for name in search.objectives])
        study.set_user_attr("counts", search.counts)
        study.add_trials([trial(record, search, configuration) for configuration in search.configurations])
        return path.read_bytes()


def trial(record: SearchRecord, search: SearchResult, configuration: ConfigurationResult) -> FrozenTrial:
    """One configuration as a trial."""
    # Alone, since a failed one among others gets the value of the worst, which is for samplers and not for people.
    [made] = _sampler(search).study([_observation(configuration)]).trials
    attributes: dict[str, Any] = {"seeds": configuration.num_seeds}
    if configuration.stopped_at:
        attributes["stopped_at"] = configuration.stopped_at
    for place, name in enumerate(search.objectives):
        if not math.isnan(std := configuration.interval(place).std):
            attributes[f"{held_out(name)}_std"] = std
    made.user_attrs = {**made.user_attrs, "status": configuration.status, **attributes}
    curve = _curve(record, search, configuration)
    if len(search.objectives) == 1:
        made.intermediate_values = {step: value for step, (_, value) in curve.items()}
    if curve:
        times = [datetime.fromtimestamp(time / 1000) for time, _ in curve.values()]
        made.datetime_start = min(times)
        made.datetime_complete = None if made.state == TrialState.RUNNING else max(times)
    return made


def _curve(
    record: SearchRecord, search: SearchResult, configuration: ConfigurationResult
) -> dict[int, tuple[float, float]]:
    """Time (ms) and mean of the first objective over the first seeds, by iteration, to the rung if it was stopped."""
    first = [seed.hash for seed in configuration.seeds][: search.first_seeds]
    rows = record.evaluations[record.evaluations["hash"].isin(first)]
    if configuration.stopped_at:
        rows = rows[rows["iteration"] <= configuration.stopped_at]
    metric = held_out(search.objectives[0])
    grouped = rows.dropna(subset=[metric]).groupby("iteration")
    means = grouped.agg(time=("time", "max"), value=(metric, "mean"), size=(metric, "size"))
    complete = means[means["size"] == len(first)]
    return {int(step): (time, value) for step, time, value in complete[["time", "value"]].itertuples(name=None)}


def _sampler(search: SearchResult) -> Sampler:
    """One that takes every space: nothing is suggested here."""
    return Sampler(kind="random", space=search.space, objectives=search.objectives, seed=0)


def _observation(configuration: ConfigurationResult) -> Observation:
    """The observation that the search sees; one stopped without a value at its rung counts as failed here."""
    has_value = bool(configuration.values)
    status = configuration.status if has_value or configuration.status != "stopped" else "failed"
    values = configuration.values if status in ("finished", "stopped") else ()
    return Observation(configuration.number, configuration.point, {}, status, values, configuration.stopped_at)
