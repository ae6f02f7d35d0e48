"""The only writer to MLflow: an experiment a study, a parent run a study, a child run a member.

Results live in the study's folder; MLflow is the index that people look at. So a server that is
down stops nothing: what it missed is kept and sent later, in this run or in the next.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the default waits for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # needs no internet

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.member import MemberDirectory, Row
from sweeps.provenance import environment
from sweeps.study import Study, StudyDirectory, require_writable

RETRY_SECONDS = 30.0
ROWS_PER_BATCH = 15  # MLflow takes 1000 points at once, a row has up to 60: CelebA has 40 attributes
_NOT_METRICS = ("iteration", "timestamp", "seconds")
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
UNREACHABLE = (MlflowException, requests.RequestException, OSError)

for noisy in ("alembic", "mlflow"):
    logging.getLogger(noisy).setLevel(logging.ERROR)


def require_reachable(uri: str) -> None:
    """Raise InvalidInputError, within 15 s, unless MLflow can be written there. Writes nothing."""
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///")).absolute()
        require_writable("tracking_uri", path.parent)
        if path.exists() and not _is_database(path):
            raise InvalidInputError(f"`tracking_uri` must name an SQLite database, or none yet, got {uri}")
        return
    if uri.startswith(("http://", "https://")):
        _require_answering_server(uri)
        return
    if uri.split("+")[0].split(":")[0] not in ("postgresql", "mysql", "mssql"):
        raise InvalidInputError(f"`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database URL, got {uri}")


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\0")


def _require_answering_server(uri: str) -> None:
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=5).raise_for_status()
    except requests.RequestException as error:
        reason = "no answer" if error.response is None else f"answered {error.response.status_code}"
        advice = "start one with `mlflow server`, or use sqlite:///mlflow.db"
        raise InvalidInputError(
            f"`tracking_uri` must be a running MLflow server, got {uri}: {reason}; {advice}"
        ) from None


class Tracker:
    """Keeps MLflow in step with a study: made at its start, told of rows and ends, closed at its end."""

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
        self._client = MlflowClient(tracking_uri=uri)
        self._logged: dict[str, int] = {}
        self._rows: dict[str, list[Row]] = {}
        self._ends: dict[str, tuple[str, str]] = {}
        self._offline_until = 0.0
        self._experiment = self._find_or_make_experiment(uri)
        self._existing = self._existing_runs()
        self._parent = self._find_or_make_parent(self._existing.pop("study", None), {**tags, **(study_tags or {})})
        self._runs: dict[str, str] = {}
        for member in study.members:
            self._run_of(member.content_hash)
        for run in self._existing.values():  # no run stays RUNNING that a killed command left so
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")
        for member in study.members:
            self._reconcile(member)

    @property
    def runs_page(self) -> str:
        """Where the study's curves are shown, below the address of MLflow's pages."""
        return f"/#/experiments/{self._experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"

    def add(self, members: Iterable[MemberConfig], tags: Mapping[str, str]) -> None:
        """More members belong to the study, their runs having some tags besides."""
        for member in members:
            name = member.content_hash
            self._members[name], self._member_tags[name] = member, tags
            if self._attempt(lambda name=name: self._run_of(name)):
                self._attempt(lambda member=member: self._reconcile(member))

    def start(self, member: str) -> None:
        """A member (by content hash) trains now."""
        self._ends.pop(member, None)
        self._attempt(lambda: self._send_start(member))

    def log(self, member: str, rows: list[Row]) -> None:
        """Log rows with their iterations as steps; those logged before are left out."""
        self._rows.setdefault(member, []).extend(rows)
        self._flush()

    def end(self, member: str, status: str, reason: str = "") -> None:
        """A member has finished, failed or been stopped."""
        self._ends[member] = (status, reason)
        self._flush()

    def close(self, status: str) -> bool:
        """End the study's run; True if MLflow has everything."""
        self._offline_until = 0.0
        self._flush()
        return self._attempt(lambda: self._client.set_terminated(self._parent, _STATUS[status])) and not self._behind

    @property
    def _behind(self) -> bool:
        return bool(self._rows or self._ends)

    def _flush(self) -> None:
        for member in list(self._rows):
            if self._attempt(lambda member=member: self._send_rows(member, self._rows[member])):
                del self._rows[member]
        for member in [m for m in self._ends if m not in self._rows]:
            if self._attempt(lambda member=member: self._send_end(member, *self._ends[member])):
                del self._ends[member]

    def _attempt(self, call: Any) -> bool:
        """Call MLflow, unless it failed moments ago; False if it fails."""
        if time.monotonic() < self._offline_until:
            return False
        try:
            call()
        except UNREACHABLE as error:
            self._offline_until = time.monotonic() + RETRY_SECONDS
            print(f"MLflow does not answer ({type(error).__name__}); results are kept and sent later", file=sys.stderr)
            return False
        return True

    def _send_start(self, member: str) -> None:
        run = self._run_of(member)
        planned = RunTag("larvae.iterations", str(self.study.schedule.iterations))
        self._client.log_batch(run, tags=[planned, RunTag("larvae.reason", "")])
        self._client.update_run(run, status="RUNNING")

    def _send_rows(self, member: str, rows: Iterable[Row]) -> None:
        run = self._run_of(member)
        last = self._last_logged(member)
        new = [row for row in rows if row["iteration"] > last]
        for start in range(0, len(new), ROWS_PER_BATCH):  # whole rows: the last step of one tells what is logged
            batch = new[start : start + ROWS_PER_BATCH]
            self._client.log_batch(run, metrics=[point for row in batch for point in _points(row)])
            self._logged[member] = int(batch[-1]["iteration"])

    def _last_logged(self, member: str) -> int:
        """The last step of a run, asked of MLflow once."""
        if member not in self._logged:
            history = self._client.get_metric_history(self._run_of(member), "loss")
            self._logged[member] = max((point.step for point in history), default=0)
        return self._logged[member]

    def _send_end(self, member: str, status: str, reason: str) -> None:
        run = self._run_of(member)
        tags = {"larvae.iterations": str(self.study.schedule.iterations), "larvae.reason": reason}
        if rung := self.directory.member(self._members[member]).stopped_at:
            tags["larvae.stopped_at"] = str(rung)
        self._client.log_batch(run, tags=[RunTag(name, value) for name, value in tags.items()])
        self._client.set_terminated(run, _STATUS[status])
        picture = MemberDirectory(self.directory.path / "members" / member).traversal
        if status == "finished" and picture.exists():
            self._client.log_artifact(run, str(picture))

    def _find_or_make_experiment(self, uri: str) -> str:
        name = self.study.name
        if experiment := self._client.get_experiment_by_name(name):
            return experiment.experiment_id
        location = None  # a server has its own place for artifacts
        if uri.startswith("sqlite:///"):
            location = (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts" / name).as_uri()
        kind = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow 3's pages expect a chat bot
        return self._client.create_experiment(name, artifact_location=location, tags=kind)

    def _existing_runs(self) -> dict[str, Run]:
        """Runs of the experiment by member's hash; the parent's under `study`."""
        runs: dict[str, Run] = {}
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token)
            runs |= {run.data.tags.get("larvae.member", "study"): run for run in page}
            token = page.token
            if not token:
                return runs

    def _find_or_make_parent(self, run: Run | None, tags: Mapping[str, str]) -> str:
        if run is None:
            all_tags = {"larvae.role": "study", **tags}
            run = self._client.create_run(self._experiment, run_name=self.study.name, tags=all_tags)
        else:
            self._client.log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self._client.update_run(run.info.run_id, status="RUNNING")
        record = {
            "study": self.study.name,
            "members": {self.study.label(member): member.to_dict() for member in self.study.members},
        }
        self._client.log_dict(run.info.run_id, record, "study.json")
        self._client.log_dict(run.info.run_id, environment(), "environment.json")
        return run.info.run_id

    def _run_of(self, member: str) -> str:
        """A member's run, found or made."""
        if member not in self._runs:
            self._runs[member] = self._find_or_make_run(self._members[member])
        return self._runs[member]

    def _find_or_make_run(self, member: MemberConfig) -> str:
        if existing := self._existing.get(member.content_hash):
            if not existing.data.params:  # a command was killed just after it had made the run
                self._log_configuration(existing.info.run_id, member)
            return existing.info.run_id
        all_tags = {
            "larvae.role": "member",
            "larvae.member": member.content_hash,
            "larvae.iterations": str(self.study.schedule.iterations),
            "larvae.fingerprint": self.fingerprints[member.dataset],
            "larvae.directory": str(self.directory.member(member).path),
            "mlflow.parentRunId": self._parent,
            **self._tags,
            **self._member_tags.get(member.content_hash, {}),
        }
        run = self._client.create_run(self._experiment, run_name=self.study.label(member), tags=all_tags)
        run_id = run.info.run_id
        self._log_configuration(run_id, member)
        self._client.update_run(run_id, status="SCHEDULED")
        self._logged[member.content_hash] = 0
        return run_id

    def _log_configuration(self, run_id: str, member: MemberConfig) -> None:
        self._client.log_batch(run_id, params=[Param(k, _text(v)) for k, v in member.to_dict().items()])
        self._client.log_dict(run_id, member.to_dict(), "config.json")

    def _reconcile(self, member: MemberConfig) -> None:
        """Log what the folder has of a member and MLflow has not."""
        name, files = member.content_hash, self.directory.member(member)
        known = self._existing[name].info.status if name in self._existing else "SCHEDULED"
        tags = self._existing[name].data.tags if name in self._existing else {}
        result = files.read_result()
        is_finished = files.last_evaluation(self.study.schedule.iterations) is not None
        was_stopped = files.stopped_at is not None and "larvae.stopped_at" not in tags
        if result and (was_stopped or (is_finished and known != "FINISHED")):
            self.log(name, result["history"])
            self.end(name, result["status"], result["reason"])
        elif not is_finished and known == "FINISHED":  # it trains on, to a raised end
            self._client.update_run(self._runs[name], status="SCHEDULED")


def _text(value: object) -> str:
    """A parameter's value as MLflow shows it."""
    return " ".join(value) if isinstance(value, list) else str(value)


def _points(row: Row) -> list[Metric]:
    time_in_ms, step = int(row["timestamp"] * 1000), int(row["iteration"])
    return [Metric(name, value, time_in_ms, step) for name, value in row.items() if name not in _NOT_METRICS]
