"""The course of a study in MLflow."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sweeps.analysis import load
from sweeps.analysis.connect import connection
from sweeps.analysis.course import Course
from sweeps.analysis.metric_histories import metric_histories
from sweeps.tracking import mlflow_names


def load_course(tracking_uri: str, study: str, metrics: Sequence[str]) -> Course:
    """Members at the end, and at each iteration that all finished ones have a metric of.

    On the way metrics are those that were asked for, and NaN where one was not computed there.
    Raises InvalidInputError when the server, the study or its members cannot be found.
    """
    with connection(tracking_uri) as client:
        experiment = load.experiment_of(client, study)
        runs = load.member_runs(client, experiment)
        members = load.members_of(client, experiment, runs)
        hashes = {run.info.run_id: run.data.tags.get(mlflow_names.MEMBER, run.info.run_id) for run in runs}
        finished = {run.info.run_id for run in runs if run.info.status == mlflow_names.FINISHED}
        points = list(metric_histories(client, sorted(finished), metrics))
    values = {(point.step, hashes[point.run], point.metric): point.value for point in points}
    steps: dict[int, set[str]] = {}
    for step, member, _ in values:
        steps.setdefault(step, set()).add(member)
    complete = sorted(step for step, some in steps.items() if some == {hashes[run] for run in finished})
    return Course(members, {step: _at(members, values, step) for step in complete})


def _at(members: pd.DataFrame, values: dict[tuple[int, str, str], float], step: int) -> pd.DataFrame:
    then = {
        metric: [values.get((step, member, metric), float("nan")) for member in members["hash"]]
        for metric in load.LOGGED_METRICS
    }
    return members.assign(**then, iterations=step)
