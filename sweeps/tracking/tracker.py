"""The only writer to MLflow: an experiment a study, a parent run a study, a child run a member.

Results live in the study's folder; MLflow is the index that people look at. So a server that is slow or down
holds up nothing: threads of the outbox write to it, and what it missed is sent later, in this run or in the next.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a run made again by a retry would be there twice
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # needs no internet
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a member

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from larvae.config import FORMAT, MemberConfig
from larvae.errors import InvalidInputError
from larvae.member_directory import MemberDirectory, Row
from sweeps.study import Study, StudyDirectory
from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import is_server, masked, sqlite_path
from sweeps.tracking.experiments import (
    find_experiment,
    find_or_make_experiment,
    find_or_make_study_run,
    is_deleted,
    keep_to_group,
)
from sweeps.tracking.known_runs import KnownRun, is_there, known_run, known_runs
from sweeps.tracking.outbox import News, Outbox, RefusedError, say
from sweeps.tracking.reachability import is_away, refusal, require_answer

MOST_POINTS = 1000  # that MLflow takes at once
MOST_AWAITED = 500
"""Members whose runs are made before training starts, to be seen as SCHEDULED; of larger studies, meanwhile."""
_SERVER_THREADS = 4
_NOT_METRICS = ("iteration", "timestamp", "seconds")
_STATUS = {"finished": mlflow_names.FINISHED, "failed": mlflow_names.FAILED, "stopped": mlflow_names.STOPPED}
UNREACHABLE = (MlflowException, requests.RequestException, SQLAlchemyError, OSError)
_ANSWERS = (MlflowException, requests.HTTPError)
"""Errors of which some are a server's answers, with a status."""

for noisy in ("alembic", "mlflow"):
    logging.getLogger(noisy).setLevel(logging.ERROR)


def require_reachable(uri: str) -> None:
    """Raise InvalidInputError, within 20 s, unless MLflow can be written there. Writes nothing."""
    require_answer(uri)
    if is_server(uri):
        try:
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        except UNREACHABLE as error:
            raise InvalidInputError(refusal(uri, error)) from None


def require_own_experiment(uri: str, study: str) -> None:
    """Raise InvalidInputError where MLflow's experiment of a study's name is of an earlier format."""
    keep_to_group(uri)
    find_experiment(MlflowClient(tracking_uri=uri), study)


class Tracker:
    """Keeps MLflow in step with a study: made at its start, told of rows and ends, closed at its end.

    Telling it takes no time: threads write to MLflow. `flush` waits for them.
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
        self.study = study
        self.directory = directory
        self.fingerprints = fingerprints
        self._tags = tags
        self._members = {member.content_hash: member for member in study.members}
        self._member_tags: dict[str, Mapping[str, str]] = {}
        keep_to_group(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._logged: dict[str, int] = {}
        self._is_doubtful: set[str] = set()  # members whose run may have been made by a request without an answer
        self._is_incomplete: set[str] = set()  # members whose first rows went with a run that is there no more
        self._outbox = Outbox(self._send, UNREACHABLE, 1 if sqlite_path(uri) else _SERVER_THREADS)
        self._experiment = find_or_make_experiment(self._client, study.name, uri)
        self._known = known_runs(self._client, self._experiment)
        known, all_tags = self._known.pop("study", None), {**tags, **(study_tags or {})}
        if known:
            self._client.log_batch(known.run_id, tags=[RunTag(name, value) for name, value in all_tags.items()])
        self._parent = find_or_make_study_run(self._client, self._experiment, known, study, all_tags)
        self._runs = {name: run.run_id for name, run in self._known.items() if run.has_configuration}
        for name, run in self._known.items():  # no run stays RUNNING that a killed command left so
            if run.status == mlflow_names.RUNNING:
                self._outbox.put(name, News(left_running=True))
        for name in self._members:
            self._outbox.plan(name)
        if len(self._members) <= MOST_AWAITED and not self._outbox.flush() and self._outbox.error:
            self._outbox.stop()
            raise self._outbox.error

    @property
    def runs_page(self) -> str:
        """The page of the study's curves, below the address of MLflow's pages."""
        return f"/#/experiments/{self._experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"

    def add(self, members: Iterable[MemberConfig], tags: Mapping[str, str]) -> None:
        """More members belong to the study, their runs having some tags besides."""
        for member in members:
            name = member.content_hash
            self._members[name], self._member_tags[name] = member, tags
            self._outbox.plan(name)

    def start(self, member: str) -> None:
        """A member (by content hash) trains now."""
        self._outbox.put(member, News(has_started=True))

    def log(self, member: str, rows: list[Row]) -> None:
        """Log rows with their iterations as steps; those logged before are left out."""
        self._outbox.put(member, News(rows=list(rows)))

    def end(self, member: str, status: str, reason: str = "") -> None:
        """A member has finished, failed or been stopped."""
        self._outbox.put(member, News(end=(status, reason)))

    def flush(self) -> bool:
        """Wait until MLflow has been told everything, or does not answer; True if it has everything."""
        return self._outbox.flush()

    def close(self, status: str) -> bool:
        """End the study's run; True if MLflow has everything."""
        is_complete = any(self._outbox.flush(again=True) for _ in range(2))
        self._outbox.stop()
        try:
            self._client.set_terminated(self._parent, _STATUS[status])
        except UNREACHABLE:
            return False
        return is_complete

    def _send(self, name: str, news: News) -> bool:
        """Tell MLflow news of a member; False if it has not all rows. Raises RefusedError where MLflow refuses them."""
        try:
            try:
                return self._tell(name, news)
            except _ANSWERS as error:
                if is_away(error) or not self._forget_lost_run(name):
                    raise
            news.has_started |= bool(news.rows)
            return self._tell(name, news)
        except _ANSWERS as error:
            if is_away(error):
                raise
            said = masked(" ".join(str(error).split()), self._client.tracking_uri)[:200]
            raise RefusedError(f"{self._label(name)} ({said})") from error

    def _forget_lost_run(self, name: str) -> bool:
        """Forget a member's run and return True if it is gone: it is made anew then. RefusedError if it cannot be."""
        run = self._runs.get(name) or (self._known[name].run_id if name in self._known else None)
        if run is None or is_there(self._client, self._experiment, run):
            return False
        if is_deleted(self._client.get_experiment(self._experiment)):
            raise RefusedError("whose experiment has been deleted, which the same command again restores")
        self._runs.pop(name, None)
        self._known.pop(name, None)
        if self._logged.pop(name, 0):
            self._is_incomplete.add(name)
        if name in self._members:
            say(f"the run of {self._label(name)} is no more in MLflow; it is made anew, with all rows at its end")
        return True

    def _label(self, name: str) -> str:
        return self.study.label(self._members[name]) if name in self._members else name

    def _tell(self, name: str, news: News) -> bool:
        """Tell MLflow news of a member; False if rows are missing that must come from the folder."""
        known = self._known.get(name)
        if news.left_running and known and not news.has_started:
            self._client.set_terminated(known.run_id, mlflow_names.STOPPED)
        if name not in self._members:
            return True
        if name in self._is_incomplete:
            news.rows, news.from_folder = [], news.end is not None
            if not (news.has_started or news.end):
                return False
        is_waiting = not (news.rows or news.has_started or news.end)
        run = self._run_of(name, is_waiting)
        if is_waiting:
            news = self._found_in_folder(name, run)
        result = self.directory.member(self._members[name]).read_result() if news.from_folder else None
        if news.has_started and not news.end:
            self._client.update_run(run, status=mlflow_names.RUNNING)
        self._send_rows(name, run, result["history"] if result else news.rows, self._tags_of(name, news))
        if news.end:
            self._send_end(name, run, news.end[0])
        if result:
            self._is_incomplete.discard(name)
        return name not in self._is_incomplete and (not news.from_folder or result is not None)

    def _found_in_folder(self, name: str, run: str) -> News:
        """News that the folder has of a member and MLflow has not."""
        member, known = self._members[name], self._known.get(name)
        files, status = self.directory.member(member), known.status if known else mlflow_names.SCHEDULED
        result = files.read_result()
        is_finished = result is not None and files.last_evaluation(self.study.schedule.iterations) is not None
        is_stopped = result is not None and files.stopped_at is not None and not (known and known.was_stopped)
        if result and (is_stopped or (is_finished and status != mlflow_names.FINISHED)):
            return News(end=(result["status"], result["reason"]), from_folder=True)
        if not is_finished and status == mlflow_names.FINISHED:  # it trains on, to a raised end
            self._client.update_run(run, status=mlflow_names.SCHEDULED)
        return News()

    def _tags_of(self, name: str, news: News) -> list[RunTag]:
        """The tags of a run that a start or an end changes."""
        if not (news.has_started or news.end):
            return []
        tags = {
            mlflow_names.ITERATIONS: str(self.study.schedule.iterations),
            mlflow_names.REASON: news.end[1] if news.end else "",
        }
        if news.end and (rung := self.directory.member(self._members[name]).stopped_at):
            tags[mlflow_names.STOPPED_AT] = str(rung)
        return [RunTag(key, value) for key, value in tags.items()]

    def _send_rows(self, name: str, run: str, rows: Iterable[Row], tags: list[RunTag]) -> None:
        """Log new rows, and tags with the first ones."""
        batch: list[Metric] = []
        last = self._last_logged(name, run) if rows else 0
        for row in rows:
            if row["iteration"] <= last:
                continue
            last, points = int(row["iteration"]), _points(row)
            if len(batch) + len(points) > MOST_POINTS:  # whole rows: the last step of one tells what is logged
                self._log(name, run, batch, tags)
                batch, tags = [], []
            batch += points
        if batch or tags:
            self._log(name, run, batch, tags)

    def _log(self, name: str, run: str, batch: list[Metric], tags: list[RunTag]) -> None:
        self._client.log_batch(run, metrics=batch, tags=tags)
        if batch:
            self._logged[name] = batch[-1].step

    def _last_logged(self, name: str, run: str) -> int:
        """The last step of a run, asked of MLflow once."""
        if name not in self._logged:
            history = self._client.get_metric_history(run, "loss")
            self._logged[name] = max((point.step for point in history), default=0)
        return self._logged[name]

    def _send_end(self, name: str, run: str, status: str) -> None:
        self._client.set_terminated(run, _STATUS[status])
        picture = MemberDirectory(self.directory.path / "members" / name).traversal
        if status == "finished" and picture.exists():
            self._client.log_artifact(run, str(picture))

    def _run_of(self, name: str, is_waiting: bool) -> str:
        """A member's run, found or made."""
        if name not in self._runs:
            known = self._known.get(name) or self._made_without_answer(name)
            run = known.run_id if known else self._make_run(name)
            if known is None or not known.has_configuration:  # a command was killed just after it had made the run
                self._log_configuration(run, self._members[name])
                if is_waiting:
                    self._client.update_run(run, status=mlflow_names.SCHEDULED)
            self._runs[name] = run
        return self._runs[name]

    def _made_without_answer(self, name: str) -> KnownRun | None:
        """The run that a request has made which got no answer."""
        return known_run(self._client, self._experiment, name) if name in self._is_doubtful else None

    def _make_run(self, name: str) -> str:
        member = self._members[name]
        tags = {
            mlflow_names.FORMAT: str(FORMAT),
            mlflow_names.ROLE: mlflow_names.MEMBER_ROLE,
            mlflow_names.MEMBER: name,
            mlflow_names.ITERATIONS: str(self.study.schedule.iterations),
            mlflow_names.FINGERPRINT: self.fingerprints[member.dataset],
            mlflow_names.DIRECTORY: str(self.directory.member(member).path),
            "mlflow.parentRunId": self._parent,
            **self._tags,
            **self._member_tags.get(name, {}),
        }
        self._is_doubtful.add(name)
        run = self._client.create_run(self._experiment, run_name=self.study.label(member), tags=tags)
        self._logged[name] = 0
        return run.info.run_id

    def _log_configuration(self, run_id: str, member: MemberConfig) -> None:
        self._client.log_batch(run_id, params=[Param(k, _text(v)) for k, v in member.to_dict().items()])
        self._client.log_dict(run_id, member.to_dict(), "config.json")


def _text(value: object) -> str:
    """A parameter's value as MLflow shows it."""
    return " ".join(value) if isinstance(value, list) else str(value)


def _points(row: Row) -> list[Metric]:
    time_in_ms, step = int(row["timestamp"] * 1000), int(row["iteration"])
    return [Metric(name, value, time_in_ms, step) for name, value in row.items() if name not in _NOT_METRICS]
