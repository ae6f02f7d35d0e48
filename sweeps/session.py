"""Common parts of all commands around a study's training: the lock, MLflow, where to look, and how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Console

from larvae.command_line import INTERRUPTED
from larvae.errors import InvalidInputError
from larvae.files import listed
from sweeps.console.hints import program, script
from sweeps.console.progress import duration
from sweeps.console.terminal import working
from sweeps.driver import connection
from sweeps.driver.member_reporter import MemberReporter
from sweeps.driver.ray_watch import leave, watched
from sweeps.driver.stopping import STOPPED, is_asked
from sweeps.driver.tokens import how_to_read_token
from sweeps.driver.workarounds.quiet_deaths import quiet_deaths
from sweeps.options import StudyOptions
from sweeps.outcome import Outcome
from sweeps.preparation import Prepared
from sweeps.resources.rates import save_rates
from sweeps.study import Study
from sweeps.tracking.addresses import is_server, masked, shown
from sweeps.tracking.provenance import source_tags
from sweeps.tracking.tracker import UNREACHABLE, Tracker, require_own_experiment

_TRAVERSALS = "analysis/traversals.py"


@dataclass(slots=True)
class Session:
    """One command's work on a study that it holds alone."""

    study: Study
    options: StudyOptions
    prepared: Prepared
    tracker: Tracker
    console: Console
    started: float = field(default_factory=time.monotonic)

    def announce(self, *lines: str) -> None:
        """Tell what starts, and where to watch it."""
        for line in lines:
            self.console.print(line)
        if url := connection.dashboard_url():
            log_in = f", with the token that `{how_to_read_token()}` prints" if connection.has_token() else ""
            self.console.print(f"Ray dashboard (while this runs): {url}{log_in}")
        self.console.print(f"MLflow: {_mlflow_address(self.options.where.tracking_uri, self.tracker.runs_page)}")

    @contextlib.contextmanager
    def reporting(self, reporter: MemberReporter) -> Iterator[None]:
        """No run stays RUNNING, whatever happens; where Ray is lost, the command ends in time."""

        def end(lost: str) -> None:
            reporter.stop()
            self.tracker.close("stopped")
            died = f"error: {lost} has died: the same command goes on from the last checkpoints"
            print(STOPPED if is_asked() else died, file=sys.stderr)
            leave(INTERRUPTED if is_asked() else 1)

        try:
            with quiet_deaths(), watched(end, reporter.progress.note, is_own=self.options.where.address is None):
                yield
        except BaseException:
            reporter.stop()
            self.tracker.close("failed")
            raise

    def close(self, outcome: Outcome, *, interrupted: bool) -> int:
        """Tell the outcome, end the study's run with it, and tell what is next; the exit code."""
        failed = outcome.failed
        self.console.print(outcome.table.on_terminal())
        complete = self.tracker.close("stopped" if interrupted else "failed" if failed else "finished", outcome)
        self.console.print(f"\n{duration(time.monotonic() - self.started)}; results in {self.prepared.directory.path}")
        if not complete:
            self.console.print("MLflow has not received everything: the same command again sends it.")
        if interrupted:
            self.console.print(STOPPED)
            return INTERRUPTED
        study = f"--study {shlex.quote(self.study.name)}"
        places = f"--tracking-uri {shlex.quote(shown(self.options.where.tracking_uri))} {study}"
        self.console.print(f"Figure: {script(self.options.figure_command)} {places}")
        dataset = _with_pair(self.study)
        if dataset and not self.options.figure_command.startswith(_TRAVERSALS):
            self.console.print(f"Label traversals: {script(_TRAVERSALS)} {places} --dataset {dataset}")
        for name, reason in failed.items():
            print(f"error: member {name} failed: {reason}", file=sys.stderr)
        if failed:
            place = f"{study} --storage-path {shlex.quote(str(self.options.where.storage_path))}"
            self.console.print(
                f"What happened: {program('python')} -m sweeps.logs MEMBER {place}, by its hash or values"
            )
        if failed or not complete:
            return 1
        self.prepared.directory.write_finished()
        return 0


@contextlib.contextmanager
def held(
    study: Study,
    options: StudyOptions,
    prepared: Prepared,
    console: Console,
    study_tags: Mapping[str, str] | None = None,
) -> Iterator[Session]:
    """Hold the study's folder, write down what it is, and make or find its runs in MLflow. Raises InvalidInputError."""
    directory, fingerprints, uri = prepared.directory, prepared.fingerprints, options.where.tracking_uri
    with directory.locked():
        directory.require_going_on(study, fingerprints)  # another command may have held it since
        with _answering(uri):
            is_new = directory.read_record() is None and not listed(directory.path, "members/*")
            require_own_experiment(uri, study.name, is_new=is_new)
        directory.write_record(study, fingerprints, options.preset)
        if prepared.rates:
            save_rates(directory.gpu_rates, prepared.rates)
        with _answering(uri), working("making the study's runs in MLflow", console):
            tracker = Tracker(uri, study, directory, fingerprints, source_tags(uri), study_tags)
        yield Session(study, options, prepared, tracker, console)


@contextlib.contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Raise InvalidInputError where MLflow does not answer, or not what it is asked."""
    try:
        yield
    except UNREACHABLE as error:
        reason = masked(str(error).partition("\n")[0], uri)
        raise InvalidInputError(f"`tracking_uri` must take a study's runs, got {shown(uri)}: {reason}") from None


def _with_pair(study: Study) -> str:
    """The first data set of which a study has members that differ in τ alone, 0 and more; empty without one."""
    baselines = {member for member in study.members if member.tau == 0}
    above = (member for member in study.members if member.tau > 0)
    return next((m.dataset for m in above if dataclasses.replace(m, tau=0.0) in baselines), "")


def _mlflow_address(uri: str, page: str) -> str:
    if is_server(uri):
        return shown(uri).rstrip("/") + page
    return f"{program('mlflow')} ui --backend-store-uri {shlex.quote(shown(uri))}, then http://127.0.0.1:5000{page}"
