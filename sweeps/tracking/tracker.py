"""The only writer to MLflow: an experiment a study, a parent run a study, a child run a member.

Results live in the study's folder; MLflow is the index that people look at. So a server that is slow or down
holds up nothing: threads of the backlog write to it, and what it missed is sent later, in this run or in the next.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a run made again by a retry would be there twice
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # needs no internet
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a member

import requests
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.outcome import Outcome
from sweeps.study import Study, StudyDirectory
from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import is_server, sqlite_path
from sweeps.tracking.backlog import Backlog, say
from sweeps.tracking.experiments import (
    delete_experiment,
    find_experiment,
    find_or_make_experiment,
    is_deleted,
    keep_to_group,
)
from sweeps.tracking.member_runs import known_runs
from sweeps.tracking.pages import all_pages
from sweeps.tracking.reachability import refusal, require_answer
from sweeps.tracking.study_run import end_study_run, find_or_make_study_run
from sweeps.tracking.sync import ENDS, Mirror

MOST_AWAITED = 500
"""Members whose runs are brought up to their folders before training starts; of larger studies, meanwhile."""
_SERVER_THREADS = 4
WAIT_SECONDS, ASK_SECONDS = 60.0, 2.0
"""Seconds that the end of a command waits for a server that does not answer, and those between two tries."""
UNREACHABLE = (MlflowException, requests.RequestException, SQLAlchemyError, OSError)

for noisy in ("alembic", "mlflow"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what they log as an error they raise as well


def require_reachable(uri: str) -> None:
    """Raise InvalidInputError, within 20 s, unless MLflow can be written there. Writes nothing."""
    require_answer(uri)
    if is_server(uri):
        try:
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        except UNREACHABLE as error:
            raise InvalidInputError(refusal(uri, error)) from None


def require_own_experiment(uri: str, study: str, *, is_new: bool) -> None:
    """Raise InvalidInputError where MLflow's experiment of a study's name is of an earlier format, or another study's.

    is_new: nothing of the study is on disk, so that runs there are another one's; those that somebody has deleted make
    room.
    """
    keep_to_group(uri)
    client = MlflowClient(tracking_uri=uri)
    experiment = find_experiment(client, study)
    if experiment is None or not is_new:
        return
    if is_deleted(experiment):
        client.restore_experiment(experiment.experiment_id)  # for its name: MLflow renames no deleted one
        delete_experiment(client, experiment)
    elif client.search_runs([experiment.experiment_id], max_results=1):
        raise InvalidInputError(
            f"`study` must be a name that MLflow has no runs of, as nothing of it is on disk, got {study}: give its "
            f"--storage-path, or another --study, or delete them (python -m sweeps.studies --remove {study})"
        )


def living_experiment(uri: str, study: str) -> Any:
    """MLflow's experiment of a study's name; None where there is none, or somebody has deleted it.

    Raises InvalidInputError where MLflow does not answer, or its experiment is of an earlier format.
    """
    if (database := sqlite_path(uri)) and not database.exists():
        return None
    require_reachable(uri)
    experiment = find_experiment(MlflowClient(tracking_uri=uri), study)
    return None if experiment is None or is_deleted(experiment) else experiment


def delete_runs(uri: str, study: str) -> int:
    """Delete a study's runs, and its experiment; the number of runs. MLflow keeps them, as deleted, until `mlflow gc`.

    Raises InvalidInputError as `living_experiment` does.
    """
    experiment = living_experiment(uri, study)
    if experiment is None:
        return 0
    client = MlflowClient(tracking_uri=uri)
    runs = list(all_pages(client.search_runs, [experiment.experiment_id], max_results=1000))
    for run in runs:
        client.delete_run(run.info.run_id)
    delete_experiment(client, experiment)
    return len(runs)


class Tracker:
    """Keeps MLflow in step with a study: made at its start, told which members change, closed at its end.

    What has changed lies in their folders. Telling it takes no time: threads write to MLflow. `flush` waits for them.
    """

    def __init__(
        self,
        uri: str,
        study: Study,
        directory: StudyDirectory,
        fingerprints: Mapping[str, str],
        tags: Mapping[str, str],
        study_tags: Mapping[str, str] | None = None,
    ) -> None:
        """Make or find the runs, and bring them up to what the study's folder holds.

        fingerprints: of the images, by data set. tags: of all runs. study_tags: of the study's own run.
        """
        keep_to_group(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._experiment = find_or_make_experiment(self._client, study.name, uri)
        known, runs = known_runs(self._client, self._experiment)
        all_tags = {**tags, **(study_tags or {})}
        if known:
            self._client.log_batch(known, tags=[RunTag(name, value) for name, value in all_tags.items()])
        self._parent = find_or_make_study_run(self._client, self._experiment, known, study, all_tags)
        self._mirror = Mirror(
            client=self._client,
            experiment=self._experiment,
            parent=self._parent,
            study=study,
            directory=directory,
            fingerprints=fingerprints,
            tags=tags,
            runs=runs,
        )
        database = sqlite_path(uri)
        self._backlog = Backlog(self._mirror.sync, UNREACHABLE, 1 if database else _SERVER_THREADS, database)
        for name, run in runs.items():  # no run stays RUNNING that a killed command left so
            if run.state.status == mlflow_names.RUNNING:
                self._backlog.add(name)
        self.add(study.members)
        if len(study.members) <= MOST_AWAITED and not self._backlog.flush() and self._backlog.error:
            self._backlog.stop()
            raise self._backlog.error

    @property
    def runs_page(self) -> str:
        """The page of its members' charts, below the address of MLflow's pages."""
        query = {
            "compareRunsMode": "CHART",
            "orderByKey": "tags.`mlflow.runName`",  # any order but that of time: in it members are folded up, uncharted
            "searchFilter": mlflow_names.tagged(mlflow_names.ROLE, mlflow_names.MEMBER_ROLE),
        }
        return f"/#/experiments/{self._experiment}/runs?{urlencode(query, quote_via=quote)}"

    def add(self, members: Iterable[MemberConfig], tags: Mapping[str, str] | None = None) -> None:
        """Members belong to the study; those that have begun have runs, with some tags besides."""
        for member in members:
            self._mirror.members[member.content_hash] = member
            self._mirror.member_tags[member.content_hash] = tags or {}
            self._backlog.add(member.content_hash, last=True)

    def start(self, member: str) -> None:
        """A member (by content hash) trains now."""
        self._mirror.running.add(member)
        self._backlog.add(member)

    def update(self, member: str) -> None:
        """A member's folder has new rows."""
        self._backlog.add(member)

    def end(self, member: str) -> None:
        """A member trains no more: its folder has its end, or it has been stopped before."""
        self._mirror.running.discard(member)
        self._backlog.add(member)

    def flush(self) -> bool:
        """Wait until MLflow has been told everything, or does not answer; True if it has everything."""
        return self._backlog.flush()

    def _flush_when_it_is_back(self) -> bool:
        """Wait for a server that does not answer, as long as one may take to start; True if it has everything then."""
        say(
            f"All is trained; waiting for MLflow, {WAIT_SECONDS:.0f} s at most (Ctrl-C: it is told by the next command)"
        )
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            time.sleep(ASK_SECONDS)
            if self._backlog.flush(again=True):
                return True
        return False

    def close(self, status: str, outcome: Outcome | None = None) -> bool:
        """End the study's run, with its outcome; True if MLflow has everything."""
        is_complete = any(self._backlog.flush(again=True) for _ in range(2))
        if not is_complete and self._backlog.is_away and status != "stopped":
            is_complete = self._flush_when_it_is_back()
        self._backlog.stop()
        try:
            end_study_run(self._client, self._parent, ENDS[status], self._mirror.study, outcome)
        except UNREACHABLE:
            return False
        return is_complete
