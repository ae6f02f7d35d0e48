"""Brings members' runs up to what the study's folder holds: their rows, how they stand, and a picture at the end.

    trial ── rows, result, picture ──▶ the member's folder ── Mirror.sync ──▶ its run in MLflow

Whatever MLflow has already is left as it is, so a sync can be done again at any time, after a kill or an outage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import requests
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from larvae.config import FORMAT, MemberConfig
from larvae.member_directory import Row
from sweeps.study import Study, StudyDirectory, label
from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import masked, written_place
from sweeps.tracking.backlog import RefusedError, say
from sweeps.tracking.experiments import is_deleted
from sweeps.tracking.member_runs import MemberRun, State, find_run, is_there
from sweeps.tracking.reachability import is_away
from sweeps.tracking.study_files import parameter_text

MOST_POINTS = 900  # MLflow takes 1,000 entities at once, parameters and tags among them
_NOT_METRICS = ("iteration", "timestamp", "seconds")
ENDS = {"finished": mlflow_names.FINISHED, "failed": mlflow_names.FAILED, "stopped": mlflow_names.STOPPED}
_ANSWERS = (MlflowException, requests.HTTPError)
"""Errors of which some are a server's answers, with a status."""


@dataclass(kw_only=True)
class Mirror:
    """A study in MLflow: tells what its folder holds, member by member."""

    client: Any
    experiment: str
    parent: str
    """The study's own run."""
    study: Study
    directory: StudyDirectory
    fingerprints: Mapping[str, str]
    """Fingerprints of the images by data set."""
    tags: Mapping[str, str]
    """Tags of all runs."""
    runs: dict[str, MemberRun]
    """Runs that MLflow has, by the members' hashes."""
    members: dict[str, MemberConfig] = field(default_factory=dict)
    """Members that have runs, or shall have them, by their hashes."""
    member_tags: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Tags that some members' runs have besides."""
    running: set[str] = field(default_factory=set)
    """Members that train now: all that their folders do not tell."""
    _named_by: tuple[str, ...] = ()  # as short as it can be: MLflow's lists are narrow
    _is_doubtful: set[str] = field(default_factory=set)  # a request without an answer may have made their runs

    def __post_init__(self) -> None:
        earlier = (self.directory.read_record() or {}).get("members", {}).values()
        self._named_by = self.study.told_apart_by(member["config"] for member in earlier)

    def sync(self, name: str) -> None:
        """Bring a member's run up to its folder. Raises RefusedError where MLflow does not take it."""
        try:
            try:
                self._sync(name)
            except _ANSWERS as error:
                if is_away(error) or not self._forget_lost_run(name):
                    raise
                self._sync(name)
        except _ANSWERS as error:
            if is_away(error):
                raise
            said = masked(" ".join(str(error).split()), self.client.tracking_uri)[:200]
            raise RefusedError(f"{self._label(name)} ({said})") from error

    def _sync(self, name: str) -> None:
        if name not in self.members:  # of an earlier command, which was killed
            if name in self.runs:
                run = self.runs[name]
                self.client.set_terminated(run.run_id, mlflow_names.STOPPED)
                run.state = run.state._replace(status=mlflow_names.STOPPED)
            return
        files = self.directory.member(self.members[name])
        if name not in self.runs and name not in self.running and not files.path.exists():
            return  # it has not begun: the study's plan has it
        run = self._run(name)
        result = None if name in self.running else files.read_result()
        state = self._state(name, run, result)
        if state == run.state and state.status != mlflow_names.RUNNING and run.has_configuration:
            return
        if state.status != mlflow_names.SCHEDULED and run.state.status != mlflow_names.RUNNING:
            # First of all, also where it has ended: a kill on the way leaves a run that is not taken for whole.
            self.client.update_run(run.run_id, status=mlflow_names.RUNNING)
        rows, read = files.read_rows(run.rows_read)
        history = result["history"] if result else ()  # whole, also where an earlier version kept no rows
        tags = [RunTag(*tag) for tag in state.tags.items() - run.state.tags.items()]
        self._log_news(run, chain(rows, history), tags, self._missing_parameters(name, run))
        run.has_configuration = True
        if state.status == mlflow_names.FINISHED and files.traversal.exists():
            self.client.log_artifact(run.run_id, str(files.traversal))
        if state.status == mlflow_names.SCHEDULED:
            self.client.update_run(run.run_id, status=state.status)
        elif state.status != mlflow_names.RUNNING:
            self.client.set_terminated(run.run_id, state.status)
        run.state, run.rows_read = state, read

    def _state(self, name: str, run: MemberRun, result: Mapping[str, Any] | None) -> State:
        """The state of a member, as its folder tells it. result: its last one, unless it trains now."""
        iterations, has_begun = self.study.schedule.iterations, self.directory.member(self.members[name]).path.exists()
        state = State(mlflow_names.STOPPED, str(iterations), "", run.state.stopped_at, self._place(name))
        if name in self.running:
            return state._replace(status=mlflow_names.RUNNING)
        if result is None or (result["status"] == "finished" and result["history"][-1]["iteration"] < iterations):
            return state if has_begun else state._replace(status=mlflow_names.SCHEDULED)
        if rung := result.get("stopped_at"):
            state = state._replace(stopped_at=str(rung))
        return state._replace(status=ENDS[result["status"]], reason=result["reason"])

    def _log_news(self, run: MemberRun, rows: Iterable[Row], tags: list[RunTag], parameters: list[Param]) -> None:
        """Log rows that are new, each whole in one request, and all else with the first ones: each request is slow."""
        batch: list[Metric] = []
        for row in rows:
            if row["iteration"] <= (batch[-1].step if batch else self._last_step(run)) or "timestamp" not in row:
                continue
            points = _points(row)
            if len(batch) + len(points) > MOST_POINTS:
                self._log(run, batch, tags, parameters)
                batch, tags, parameters = [], [], []
            batch += points
        if batch or tags or parameters:
            self._log(run, batch, tags, parameters)

    def _log(self, run: MemberRun, batch: list[Metric], tags: list[RunTag], parameters: list[Param]) -> None:
        self.client.log_batch(run.run_id, metrics=batch, tags=tags, params=parameters)
        if batch:
            run.last_step = batch[-1].step

    def _missing_parameters(self, name: str, run: MemberRun) -> list[Param]:
        """The configuration, where a run lacks it: it is new, or a command was killed just after it had made it."""
        if run.has_configuration:
            return []
        return [Param(key, parameter_text(value)) for key, value in self.members[name].to_dict().items()]

    def _last_step(self, run: MemberRun) -> int:
        """The last step of a run, asked of MLflow once."""
        if run.last_step is None:
            history = self.client.get_metric_history(run.run_id, "loss")
            run.last_step = max((point.step for point in history), default=0)
        return run.last_step

    def _run(self, name: str) -> MemberRun:
        """A member's run: found, or made."""
        run = self.runs.get(name)
        if run is None and name in self._is_doubtful:
            run = find_run(self.client, self.experiment, name)
        if run is None:
            run = self._make_run(name)
        self.runs[name] = run
        return run

    def _make_run(self, name: str) -> MemberRun:
        """A new run, which MLflow calls RUNNING."""
        member = self.members[name]
        state = State(mlflow_names.RUNNING, str(self.study.schedule.iterations), directory=self._place(name))
        tags = {
            mlflow_names.FORMAT: str(FORMAT),
            mlflow_names.ROLE: mlflow_names.MEMBER_ROLE,
            mlflow_names.MEMBER: name,
            mlflow_names.FINGERPRINT: self.fingerprints[member.dataset],
            "mlflow.parentRunId": self.parent,
            **state.tags,
            **self.tags,
            **self.member_tags.get(name, {}),
        }
        self._is_doubtful.add(name)
        made = self.client.create_run(self.experiment, run_name=label(member, self._named_by), tags=tags)
        return MemberRun(made.info.run_id, state, last_step=0)

    def _forget_lost_run(self, name: str) -> bool:
        """Forget a member's run and return True if it is gone: it is made anew then. RefusedError if it cannot be."""
        run = self.runs.get(name)
        if run is None or is_there(self.client, self.experiment, run.run_id):
            return False
        if is_deleted(self.client.get_experiment(self.experiment)):
            raise RefusedError("whose experiment has been deleted, which the same command again restores")
        del self.runs[name]
        if name in self.members:
            say(f"the run of {self._label(name)} is no more in MLflow; it is made anew, with all its rows")
        return True

    def _place(self, name: str) -> str:
        return written_place(self.directory.member(self.members[name]).path, self.client.tracking_uri)

    def _label(self, name: str) -> str:
        return self.study.label(self.members[name]) if name in self.members else name


def _points(row: Row) -> list[Metric]:
    time_in_ms, step = int(row["timestamp"] * 1000), int(row["iteration"])
    return [Metric(name, value, time_in_ms, step) for name, value in row.items() if name not in _NOT_METRICS]
