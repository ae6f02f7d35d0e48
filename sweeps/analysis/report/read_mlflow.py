"""A study of MLflow, for its report: members' rows from their folders where those are there, else from MLflow."""

from __future__ import annotations

import contextlib
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from larvae.errors import InvalidInputError
from larvae.member_directory import MemberDirectory
from sweeps.analysis import load
from sweeps.analysis.connect import connection
from sweeps.analysis.metric_histories import metric_histories
from sweeps.analysis.report.result_files import trained_in
from sweeps.analysis.report.study_record import Origin, StudyRecord, Trained
from sweeps.analysis.search.load_search import HELD_OUT, load_search
from sweeps.analysis.search.ranking import summarise
from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import is_server, shown
from sweeps.tracking.study_files import find_study_run, read_environment

HISTORY = ("mig", "l2", "loss", *HELD_OUT, "seconds_per_iteration")
"""Metrics whose histories the page shows or sums up."""


def newest(tracking_uri: str) -> str:
    """Name of the most recently created study. Raises InvalidInputError when there is none."""

    def is_study(client: Any, experiment: Any) -> bool:
        return find_study_run(client, experiment.experiment_id) is not None  # a server may have others' experiments

    return load.newest_study(tracking_uri, is_study, "a study")


def read_mlflow(tracking_uri: str, study: str) -> StudyRecord:
    """Read a study. Raises InvalidInputError when the server, the study or its members cannot be found."""
    with connection(tracking_uri) as client:
        experiment = load.experiment_of(client, study)
        runs = load.member_runs(client, experiment)
        members = load.members_of(client, experiment, runs)
        own = find_study_run(client, experiment.experiment_id)
        ids = {run.data.tags.get(mlflow_names.MEMBER, run.info.run_id): run.info.run_id for run in runs}
        trained = _trained(client, members, ids)
        origin = _origin(client, tracking_uri, experiment, own, runs)
    search = None
    if own and mlflow_names.SEARCH in own.data.tags:
        record = load_search(tracking_uri, study)
        search = summarise(record)
        members = record.members
    return StudyRecord(
        study=study,
        members=members,
        trained=trained,
        origin=origin,
        picture=partial(_picture, tracking_uri, ids),
        runs=ids,
        search=search,
    )


def _trained(client: Any, members: pd.DataFrame, ids: Mapping[str, str]) -> dict[str, Trained]:
    """The training of all members that have begun, by their hashes."""
    found: dict[str, Trained] = {}
    for row in members.to_dict("records"):
        with contextlib.suppress(OSError):  # another user's, say: MLflow has the rows
            if row["directory"] and (known := trained_in(Path(row["directory"]))):
                found[row["hash"]] = known
    left = {run: name for name, run in ids.items() if name not in found}
    rows: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for point in metric_histories(client, list(left), HISTORY):
        rows[left[point.run]][point.step][point.metric] = point.value
    for name, by_step in rows.items():
        found[name] = Trained([{"iteration": step, **by_step[step]} for step in sorted(by_step)])
    return found


def _origin(client: Any, uri: str, experiment: Any, own: Any, runs: Sequence[Any]) -> Origin:
    tags: Mapping[str, str] = own.data.tags if own else {}
    everyone = [run.data.tags for run in runs] + [tags]
    commits = sorted({known[mlflow_names.COMMIT] for known in everyone if mlflow_names.COMMIT in known})
    facts = {
        "command": tags.get(mlflow_names.COMMAND, ""),
        "commit": ", ".join(commits),
        "format": experiment.tags.get(mlflow_names.FORMAT, ""),
        **(read_environment(client, own.info.run_id) if own else {}),
    }
    known = {name: text for name, text in facts.items() if text}
    address = shown(uri).rstrip("/")
    if is_server(uri):
        return Origin(address, known, f"{address}/#/experiments/{experiment.experiment_id}/runs/")
    return Origin(address, known, ui_command=f"mlflow ui --backend-store-uri {shlex.quote(address)}")


def _picture(uri: str, ids: Mapping[str, str], member: Mapping[str, Any]) -> bytes | None:
    """The label traversals of a member from its folder, else from its run."""
    if member["directory"]:
        with contextlib.suppress(OSError):
            return MemberDirectory(Path(member["directory"])).traversal.read_bytes()
    if run := ids.get(member["hash"]):
        with contextlib.suppress(InvalidInputError, OSError), connection(uri) as client:
            return Path(client.download_artifacts(run, "traversal.png")).read_bytes()
    return None
