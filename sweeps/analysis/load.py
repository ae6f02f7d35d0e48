"""MLflow to pandas: the only reader of what `sweeps.tracking` writes.

A study is an experiment; its members are the runs tagged `larvae.role` = `member` (`sweeps.tracking.mlflow_names`). An
adaptive search is read further by `sweeps.analysis.search.load_search`, over the connection that is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from larvae.config import LATER_FIELDS, MemberConfig
from larvae.errors import InvalidInputError
from larvae.metrics import SCORES
from larvae.regularisers import SETTINGS
from sweeps.analysis.connect import connection
from sweeps.analysis.idle_fields import filled, shared
from sweeps.analysis.parameters import varies
from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import read_place, shown
from sweeps.tracking.pages import all_pages
from sweeps.tracking.study_files import find_study_run, parameter_text, read_plan

LOGGED_METRICS = tuple(SCORES)
"""Metrics that members log; not every data set and schedule has all of them."""
REPEATED_OVER = ("label_rate", "seed")
"""Fields that a sweep of one parameter varies besides it: label rates become lines, seeds become intervals."""

_COLUMNS = ("name", "hash", "directory", "status", "iterations", "reason", *LOGGED_METRICS)
"""Columns that `load_members` gives beside the parameters."""
_OF_ANOTHER_FORMAT = "give another --study, or draw it with the version that trained it"
_PANEL = ("dataset", "regulariser")
"""Fields that a label rate study varies beside τ, each data set and regulariser with settings of its own."""


def converter(kind: str) -> Callable[[str], object]:
    """A function from MLflow's text to a field's value, by its annotation; where that is not known it stays text."""
    known: dict[str, Callable[[str], object]] = {
        "int": int,
        "float": float,
        "bool": lambda text: text == "True",
        "int | None": lambda text: None if text == "None" else int(text),
    }
    return known.get(kind, str)


_CONVERTERS = {f.name: converter(str(f.type)) for f in fields(MemberConfig)} | dict.fromkeys(SETTINGS, float)


def load_members(tracking_uri: str, study: str) -> pd.DataFrame:
    """All members of a study, one row each, in the order of their parameters.

    Columns: name, hash, directory (of its checkpoint), status (MLflow's), iterations (trained so far), reason
    (of a failure), LOGGED_METRICS, and what was logged as parameters: fields of MemberConfig in their types, any other
    as text. Metrics are the last logged ones: results where status is FINISHED, NaN where none was logged. Of
    several runs of one member the finished one counts, else the newest.
    Raises InvalidInputError when the server, the study or its members cannot be found.
    """
    with connection(tracking_uri) as client:
        experiment = experiment_of(client, study)
        return members_of(client, experiment, member_runs(client, experiment))


def members_of(client: Any, experiment: Any, runs: Iterable[Any]) -> pd.DataFrame:
    """Members of a study that are planned or have runs, as `load_members` gives them. InvalidInputError without any."""
    plan = _plan(client, find_study_run(client, experiment.experiment_id))
    rows = [_planned_row(*member) for member in plan.items()] + [member_row(client, run) for run in runs]
    if not rows:
        raise InvalidInputError(f"`study` must have members, got {experiment.name} without any")
    return distinct_members(rows)


def together(names: Sequence[str], members: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The members of several studies, which the parameter `study` tells apart; of one, just these."""
    if len(members) == 1:
        return members[0]
    return pd.concat([some.assign(study=n) for n, some in zip(names, members, strict=True)], ignore_index=True)


def find_study(tracking_uri: str, parameter: str) -> str:
    """Name of the most recently created study that sweeps the parameter.

    Its members vary the parameter at each setting, of one data set and one regulariser; searches are passed over.
    Raises InvalidInputError when there is none.
    """
    return newest_sweep(tracking_uri, lambda members: _varies(members, parameter), f"a study that varies {parameter}")


def _varies(members: pd.DataFrame, parameter: str) -> bool:
    if not varies(members, parameter):
        return False
    has_panels = set(_PANEL) & set(other_parameters(members, parameter))
    return not has_panels and all(varies(some, parameter) for some in apart(members, parameter))


def find_label_rate_study(tracking_uri: str) -> str:
    """Name of the most recently created study that compares τ = 0 with τ > 0 at several label rates.

    Raises InvalidInputError when there is none.
    """

    def compares(members: pd.DataFrame) -> bool:
        if varied_within_panels(members) != ["tau"]:
            return False
        return members["tau"].min() == 0 and members["label_rate"].nunique() > 1

    return newest_sweep(tracking_uri, compares, "a study that compares τ = 0 with τ > 0 at several label rates")


def find_pair_study(tracking_uri: str) -> str:
    """Name of the most recently created study that has members with τ = 0 and with τ > 0.

    Raises InvalidInputError when there is none.
    """

    def has_both(members: pd.DataFrame) -> bool:
        return "tau" in members and members["tau"].min() == 0 < members["tau"].max()

    return newest_sweep(tracking_uri, has_both, "a study with members of τ = 0 and of τ > 0")


def member_directory(tracking_uri: str, run_id: str) -> str:
    """The folder of a run's member, which has its checkpoint. Raises InvalidInputError when there is no such run."""
    with connection(tracking_uri) as client:
        tags = client.get_run(run_id).data.tags
    if mlflow_names.DIRECTORY not in tags:
        raise InvalidInputError(f"a run must be a member's, tagged `{mlflow_names.DIRECTORY}`, got {run_id}")
    mlflow_names.require_format(tags, f"run {run_id} was written", _OF_ANOTHER_FORMAT)
    return read_place(tags[mlflow_names.DIRECTORY], tracking_uri)


def parameters_of(members: pd.DataFrame) -> list[str]:
    """Columns of `load_members` that are parameters."""
    return [str(name) for name in members if name not in _COLUMNS]


def varied_parameters(members: pd.DataFrame) -> list[str]:
    """Parameters, label rate and seed apart, in which members differ."""
    names = [name for name in parameters_of(members) if name not in REPEATED_OVER]
    return [name for name in names if members[name].nunique() > 1]


def other_parameters(members: pd.DataFrame, parameter: str) -> list[str]:
    """Parameters beside one in which members differ, but those that follow from their regulariser."""
    others = [name for name in varied_parameters(members) if name != parameter]
    if parameter == "regulariser" or "regulariser" in others:
        most = members.groupby("regulariser").nunique().max()
        others = [name for name in others if name not in ("gamma_tc", *SETTINGS) or most[name] > 1]
    return others


def apart(members: pd.DataFrame, parameter: str) -> list[pd.DataFrame]:
    """Members apart by all parameters beside one; a baseline is of all that its own settings do not tell it from."""
    names = other_parameters(members, parameter)
    members = shared(members, [parameter])
    return [some for _, some in members.groupby(names, dropna=False)] if names else [members]


def varied_within_panels(members: pd.DataFrame) -> list[str]:
    """Parameters, label rate and seed apart, in which members of one data set and one regulariser differ."""
    if not set(_PANEL) <= set(members):
        return varied_parameters(members)
    panels = [panel for _, panel in members.groupby(list(_PANEL))]
    varied = {name for panel in panels for name in varied_parameters(panel)}
    return [name for name in varied_parameters(members) if name in varied]


def newest_study(tracking_uri: str, is_wanted: Callable[[Any, Any], bool], description: str) -> str:
    """The most recently created study whose experiment is wanted, asked with the client; InvalidInputError without."""
    with connection(tracking_uri) as client:
        for experiment in _experiments(client):
            if is_wanted(client, experiment):
                _require_format(experiment)
                return str(experiment.name)
    raise InvalidInputError(f"`tracking_uri` must hold {description}, got {shown(tracking_uri)}")


def newest_sweep(tracking_uri: str, is_wanted: Callable[[pd.DataFrame], bool], description: str) -> str:
    """The most recently created study that is no search and whose members' parameters are wanted."""

    def is_wanted_sweep(client: Any, experiment: Any) -> bool:
        study = find_study_run(client, experiment.experiment_id)
        if study and mlflow_names.SEARCH in study.data.tags:
            return False
        planned = list(map(_planned_parameters, _plan(client, study).values()))
        members = pd.DataFrame(planned + [_parameters(run.data.params) for run in member_runs(client, experiment)])
        return is_wanted(filled(members))

    return newest_study(tracking_uri, is_wanted_sweep, description)


def experiment_of(client: Any, study: str) -> Any:
    """MLflow's experiment of a study. Raises InvalidInputError when there is none, or one of an earlier format."""
    experiments = {experiment.name: experiment for experiment in _experiments(client)}
    if study not in experiments:
        known = ", ".join(sorted(experiments)) or "(there is none)"
        raise InvalidInputError(f"`study` must be one of {known}, got {study}")
    _require_format(experiments[study])
    return experiments[study]


def _require_format(experiment: Any) -> None:
    what = f"study {experiment.name} was written"
    mlflow_names.require_format(experiment.tags, what, _OF_ANOTHER_FORMAT)


def study_tags(client: Any, experiment: Any) -> dict[str, str]:
    """Tags of a study's own run; none where a killed command left it without one."""
    run = find_study_run(client, experiment.experiment_id)
    return dict(run.data.tags) if run else {}


def _plan(client: Any, study: Any) -> dict[str, dict[str, Any]]:
    """The fields of all planned members by their names; those that have begun have runs, too. study: its own run."""
    return read_plan(client, study.info.run_id) if study else {}


def _planned_row(name: str, fields: Mapping[str, Any]) -> dict[str, object]:
    """A planned member as a row of `load_members`, as if it had not begun."""
    return {
        "name": name,
        "hash": MemberConfig.from_dict(fields).content_hash,
        "directory": "",
        "status": mlflow_names.SCHEDULED,
        "iterations": 0,
        "reason": "",
        **_planned_parameters(fields),
        **dict.fromkeys(LOGGED_METRICS, float("nan")),
    }


def _planned_parameters(fields: Mapping[str, Any]) -> dict[str, object]:
    return _parameters({name: parameter_text(value) for name, value in fields.items()})


def distinct_members(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows of `member_row` for `member_runs` as a frame: one a member, in the order of their parameters.

    Settings without effect are what they are where they have one.
    """
    members = pd.DataFrame(rows).drop_duplicates("hash", keep="last", ignore_index=True)
    if "label_seed" in members and members["label_seed"].notna().any():  # crossed with the other seed, once the same
        members["label_seed"] = members["label_seed"].fillna(members["seed"]).astype(int)
    return filled(members).sort_values([name for name in _CONVERTERS if name in members], ignore_index=True)


def member_row(client: Any, run: Any) -> dict[str, object]:
    """One member as a row of `load_members`."""
    tags, status = run.data.tags, run.info.status
    is_finished, has_reason = status == mlflow_names.FINISHED, status in (mlflow_names.FAILED, mlflow_names.STOPPED)
    return {
        "name": run.info.run_name,
        "hash": tags.get(mlflow_names.MEMBER, run.info.run_id),
        "directory": read_place(tags.get(mlflow_names.DIRECTORY, ""), client.tracking_uri),
        "status": status,
        "iterations": int(tags[mlflow_names.ITERATIONS]) if is_finished else _iterations_so_far(client, run),
        "reason": " ".join(tags.get(mlflow_names.REASON, "").split()) if has_reason else "",
        **{name: value for name, value in _parameters(run.data.params).items() if name not in _COLUMNS},
        **{metric: run.data.metrics.get(metric, float("nan")) for metric in LOGGED_METRICS},
    }


def _parameters(texts: Mapping[str, str]) -> dict[str, object]:
    """The parameters that a run logged, in MemberConfig's order; those of other versions come last, as text."""
    logged = {**{name: str(then) for name, then in LATER_FIELDS.items()}, **texts}
    known = {name: convert(logged[name]) for name, convert in _CONVERTERS.items() if name in logged}
    return known | {name: logged[name] for name in sorted(logged) if name not in known}


def _iterations_so_far(client: Any, run: Any) -> int:
    """The step of the last row an unfinished member logged."""
    if "seconds_per_iteration" not in run.data.metrics:
        return 0
    return max(point.step for point in client.get_metric_history(run.info.run_id, "seconds_per_iteration"))


def _experiments(client: Any) -> list[Any]:
    """Experiments, newest first, without the one MLflow makes for itself."""
    experiments = all_pages(client.search_experiments, order_by=["creation_time DESC"])
    return [experiment for experiment in experiments if experiment.experiment_id != "0"]


def member_runs(client: Any, experiment: Any) -> list[Any]:
    """The member runs of an experiment: unfinished ones first, then by start.

    A sweep that was killed as it made a run leaves one without parameters, which says nothing.
    """
    runs = all_pages(
        client.search_runs,
        experiment_ids=[experiment.experiment_id],
        filter_string=mlflow_names.tagged(mlflow_names.ROLE, mlflow_names.MEMBER_ROLE),
    )
    described = [run for run in runs if run.data.params]
    return sorted(described, key=lambda run: (run.info.status == mlflow_names.FINISHED, run.info.start_time))
