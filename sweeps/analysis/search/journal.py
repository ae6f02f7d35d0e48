"""A search as the journal that optuna-dashboard opens: its configurations as they trained, and when they did."""

from __future__ import annotations

import math
import tempfile
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from larvae.metrics import held_out
from sweeps.adaptive.objectives import OBJECTIVES
from sweeps.adaptive.space import Range, Space
from sweeps.analysis.search.load_search import SearchRecord
from sweeps.analysis.search.ranking import ConfigurationResult, SearchResult

_STATES = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


def journal(record: SearchRecord, search: SearchResult) -> bytes:
    """Content of a file that `optuna-dashboard FILE` opens: the study with a trial a configuration, in their order.

    Parameters are the searched fields of MemberConfig, not the points that the sampler holds: a zero is 0. Trials last
    from the start of their first seed to the end of their last. Seeds and standard deviations are user attributes;
    with one objective, trials have their means over the first seeds as learning curves.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=search.study,
            directions=[OBJECTIVES[name] for name in search.objectives],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([held_out(name) for name in search.objectives])
        study.set_user_attr("counts", search.counts)
        study.add_trials([trial(record, search, configuration) for configuration in search.configurations])
        return path.read_bytes()


def trial(record: SearchRecord, search: SearchResult, configuration: ConfigurationResult) -> FrozenTrial:
    """One configuration as a trial; WAITING where none of its seeds has begun."""
    attributes: dict[str, Any] = {"status": configuration.status, "seeds": configuration.num_seeds}
    if configuration.stopped_at:
        attributes["stopped_at"] = configuration.stopped_at
    for place, name in enumerate(search.objectives):
        if not math.isnan(std := configuration.interval(place).std):
            attributes[f"{held_out(name)}_std"] = std
    members = record.members[record.members["hash"].isin([seed.hash for seed in configuration.seeds])]
    start, end = members["started_at"].min(), members["ended_at"].max()
    made = create_trial(
        state=TrialState.WAITING if math.isnan(start) else _STATES[configuration.status],
        values=configuration.values if configuration.is_finished else None,
        params=configuration.fields,
        distributions=_distributions(search.space),
        user_attrs=attributes,
        intermediate_values=_curve(record, search, configuration) if len(search.objectives) == 1 else {},
    )
    if made.state != TrialState.WAITING:
        made.datetime_start = datetime.fromtimestamp(start / 1000)
    if made.state.is_finished():
        made.datetime_complete = datetime.fromtimestamp(end / 1000)
    return made


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """The sampler's, but linear for a range with a zero: no logarithmic one of Optuna's can hold 0."""
    with_zero = {n: values for n, values in space.parameters.items() if isinstance(values, Range) and values.zero}
    return space.distributions() | {name: FloatDistribution(0, values.high) for name, values in with_zero.items()}


def _curve(record: SearchRecord, search: SearchResult, configuration: ConfigurationResult) -> dict[int, float]:
    """Mean of the objective over the first seeds, by iteration, to the rung if it was stopped."""
    first = [seed.hash for seed in configuration.seeds][: search.first_seeds]
    rows = record.evaluations[record.evaluations["hash"].isin(first)]
    if configuration.stopped_at:
        rows = rows[rows["iteration"] <= configuration.stopped_at]
    values = rows.groupby("iteration")[held_out(search.objectives[0])]
    means = values.mean()[values.count() == len(first)]
    return {int(step): float(mean) for step, mean in zip(means.index, means, strict=True)}
