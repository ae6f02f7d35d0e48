"""A trial's work, without Tune: trains one member or several and reports their rows. Plans time it, trials do it."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from larvae import datasets
from larvae.advice import advice_taken
from larvae.compiling import can_compile
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset, store
from larvae.errors import InvalidInputError, one_line
from larvae.hardware import device_name
from larvae.member import Member
from larvae.member_directory import MemberDirectory
from larvae.metrics import HELD_OUT_METRICS, held_out
from larvae.out_of_memory import is_machines, is_no_members_own, is_out_of_memory
from larvae.together.training_together import Report, Together
from sweeps.resources.gpu_memory import cap_gpu_memory
from sweeps.resources.missing_gpus import MissingGpuError
from sweeps.trial.machine_faults import FAULT_SECONDS, MachineFaultError
from sweeps.trial.mailbox import Mailbox
from sweeps.trial.member_log import MOST_STARTS, MemberLog, starts_without_progress

REPORT_SECONDS = 5.0
"""Seconds between two reports of a trial, where few run."""
LONG_ITERATIONS = 10_000
"""Iterations of trials that take minutes: each has its own process, by whose name people find it in Ray's dashboard."""
_HELD_OUT = frozenset(map(held_out, HELD_OUT_METRICS))


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A data set's prepared file, for nodes that cannot render its images themselves."""

    path: Path
    """Path on the driver's node."""
    content: ray.ObjectRef | None
    """Its bytes in Ray's object store, for other nodes; None where there are none."""
    fingerprint: str
    """Names it in their caches: whatever else lies there, they train on these images."""

    def on_this_node(self, dataset: str) -> Path:
        """The path of the file on this node, fetched by the first trial that needs it."""
        if self.content is None or (self.path.exists() and store.read_header(self.path).sha256 == self.fingerprint):
            return self.path
        return datasets.install(f"{dataset}-{self.fingerprint[:12]}.h5", lambda: ray.get(self.content))


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """The settings that all trials of a study share."""

    schedule: Schedule
    members_directory: Path
    """Folder of the members; on a cluster, in a folder that all nodes share."""
    prepared_files: Mapping[str, PreparedFile]
    """Prepared files by data set; those that nodes render themselves have none."""
    fingerprints: Mapping[str, str]
    """Fingerprints of the study's images, by data set."""
    cpus: int
    gpus: float
    compile: bool
    report_seconds: float = REPORT_SECONDS
    """Rows are gathered for about so long before they are reported, up to those with metrics of held-out labels."""
    command: str = ""
    """Names the command that trains the study now."""
    varied: tuple[str, ...] = ()
    """Fields that differ between members, by which people know them."""
    slots: int = 0
    """Members that a trial has room for, where a search hands it others while it runs; 0 where none does."""
    gpus_may_be_missing: bool = False
    """True if members train on a CPU where PyTorch finds no GPU behind the share that they hold: for tests."""

    @property
    def reuses_processes(self) -> bool:
        """True if trials follow each other in one process, which saves each two seconds, but they share its name."""
        return self.schedule.iterations < LONG_ITERATIONS


class Worker:
    """Trains members. A failure ends its member and is reported, not raised.

    What is the machine's fault is raised, after a rest: the work can be done again, elsewhere. A member's folder has
    its checkpoint, from which whoever takes it on again goes on, and its rows, before they are reported.
    """

    def __init__(self, settings: TrialSettings, gpus: float | None = None) -> None:
        """gpus: those that this process holds, where they are others than all trials'."""
        self.settings = settings
        self.datasets: dict[str, Dataset] = {}
        torch.set_num_threads(settings.cpus)
        self.gpus = settings.gpus if gpus is None else gpus
        self.evaluates = self.gpus == 0
        """True if members are evaluated here: where a GPU is held, another trial does so, which needs none."""
        self._compiles = settings.compile and (self.gpus > 0 or settings.gpus == 0)
        if 0 < self.gpus < 1 and torch.cuda.is_available():
            cap_gpu_memory(self.gpus)
        self.take_on([])

    def take_on(self, members: Sequence[MemberConfig], mailbox: Mailbox | None = None) -> None:
        """Take on other members; the data and the compiled step are kept.

        mailbox: brings more of them while these train; the trial then lasts until it is stopped.
        """
        self.open = {config.content_hash: config for config in members}
        self._mailbox, self._place = mailbox, 0
        self._taken, self._dropped = list(members), list[str]()
        self.reports = self._train()
        self._last_kept: dict[str, float] = {}
        self.fault = ""

    def step(self) -> dict[str, Any]:
        """Train for some seconds. Reports `members`: by name, each one's `rows`, `status` and `reason`.

        `advice`: lines for the user.

        status: running, trained (to be evaluated by another trial; the last row lacks metrics), finished, failed, or
        out_of_memory: to be tried again with fewer beside it.
        """
        if self.fault:
            time.sleep(FAULT_SECONDS)  # a bad machine must not take all trials from the good ones
            raise MachineFaultError(self.fault)
        with advice_taken() as advice:
            return {**self._step(), "advice": advice}

    def _step(self) -> dict[str, Any]:
        started = time.monotonic()
        self._read_mailbox()
        reports: dict[str, Report] = {}
        is_done = False
        try:
            while time.monotonic() - started < self.settings.report_seconds:
                found = next(self.reports)
                for report in found:
                    self._add(reports, report)
                if self._may_decide(found) or not self.open:
                    break
        except StopIteration:
            is_done = True
        except Exception as error:  # of the step that the members share
            if is_machines(error):
                self._leave(reports, error)
            else:
                self._end_open(reports, "out_of_memory" if is_out_of_memory(error) else "failed", error)
                is_done = True
        self._keep_rows(reports)
        return {"members": {name: report._asdict() for name, report in reports.items()}, "done": is_done}

    def _add(self, reports: dict[str, Report], report: Report) -> None:
        """Put a member's report after what it has reported in this call."""
        earlier = reports[report.name].rows if report.name in reports else []
        reports[report.name] = report._replace(rows=earlier + report.rows)
        if report.status != "running":
            self._log(report.name).write(report.status, reason=report.reason)
            self.open.pop(report.name, None)

    def _keep_rows(self, reports: Mapping[str, Report]) -> None:
        """Put rows into the members' folders, in one go each; those of a checkpoint are there, as a rule."""
        try:
            for name, report in reports.items():
                last = self._last_kept.get(name, 0)
                whole = report.rows[:-1] if report.status == "trained" else report.rows
                if rows := [row for row in whole if row["iteration"] > last]:
                    self._directory(name).append_rows(rows)
                    self._last_kept[name] = rows[-1]["iteration"]
        except OSError as error:
            self._leave({}, error)

    def _end_open(self, reports: dict[str, Report], status: str, error: Exception) -> None:
        """End all members that have not ended yet."""
        for name, config in list(self.open.items()):
            if status == "failed":
                self._directory(name).write_failure(config, error)
            self._add(reports, Report(name, [], status, one_line(error)))

    def _leave(self, reports: dict[str, Report], error: Exception) -> None:
        """Tell what is wrong with the machine, before the next step ends the process."""
        self.fault = f"{platform.node()}: {one_line(error)}"
        for name in self.open:
            self._add(reports, Report(name, [], "running", self.fault))
            with contextlib.suppress(OSError):
                self._log(name).write("fault", reason=self.fault)

    def _may_decide(self, reports: Sequence[Report]) -> bool:
        """Tell whether a search may decide on reports, and its trial should wait for that."""
        has_ended = self._mailbox is not None and any(report.status != "running" for report in reports)
        return has_ended or any(_HELD_OUT & row.keys() for report in reports for row in report.rows)

    def _read_mailbox(self) -> None:
        """Take note of members that a search hands to this trial or takes from it."""
        if self._mailbox is not None:
            taken, dropped, self._place = self._mailbox.news(self._place)
            self._taken = [member for member in self._taken + taken if member.content_hash not in dropped]
            self._dropped += dropped
            self.open |= {member.content_hash: member for member in taken}
            for name in dropped:
                self.open.pop(name, None)

    def _train(self) -> Iterator[list[Report]]:
        """Reports of the members, an iteration after the other; members that come and go do so in between."""
        on_gpu = self._is_on_gpu()
        slots = self.settings.slots if self._mailbox else 0
        together = Together(fused=on_gpu, evaluates=self.evaluates, slots=slots)
        try:
            while self._taken or together.members or self._mailbox:
                for name in self._dropped:
                    together.drop(name)
                taken, self._taken, self._dropped = self._taken, [], []
                if taken:
                    members, failed = self._opened(taken, on_gpu)
                    yield failed + together.add(members)
                yield together.iterate() if together.members else []
        finally:
            together.close()

    def _opened(self, configs: Sequence[MemberConfig], on_gpu: bool) -> tuple[list[Member], list[Report]]:
        """Members at their last checkpoints, and reports of those that cannot be opened."""
        members, failed = [], []
        for config in configs:
            try:
                members.append(self._open(config, on_gpu))
            except Exception as error:  # its checkpoint, or its data
                if is_no_members_own(error):
                    raise
                reason = self._directory(config.content_hash).write_failure(config, error)
                failed.append(Report(config.content_hash, [], "failed", reason))
        return members, failed

    def _is_on_gpu(self) -> bool:
        """Tell whether members train on a GPU. Raises MissingGpuError where there is none behind their share."""
        has_gpu = torch.cuda.is_available()
        if self.gpus > 0 and not has_gpu and not self.settings.gpus_may_be_missing:
            raise MissingGpuError
        return self.gpus > 0 and has_gpu

    def _open(self, config: MemberConfig, on_gpu: bool) -> Member:
        """A member at its last checkpoint. Raises RuntimeError where its process has died again and again."""
        member = Member(
            config,
            self.settings.schedule,
            self._dataset(config.dataset),
            self._directory(config.content_hash),
            device="cuda" if on_gpu else "cpu",
            compiled=self._compiles and can_compile("cuda" if on_gpu else "cpu"),
        )
        log, iteration = self._log(config.content_hash), member.trainer.iteration
        starts = starts_without_progress(log.read(), self.settings.command, iteration)
        if starts >= MOST_STARTS and not member.is_evaluated:
            cause = "killed, out of memory, or its node lost"
            raise RuntimeError(f"its process died {starts} times after iteration {iteration} ({cause})")
        kept, _ = member.directory.read_rows()
        self._last_kept[member.name] = kept[-1]["iteration"] if kept else 0
        device = device_name(member.trainer.device)
        log.write("started", command=self.settings.command, iteration=iteration, device=device)
        return member

    def _log(self, member: str) -> MemberLog:
        return MemberLog(self.settings.members_directory / member)

    def _directory(self, member: str) -> MemberDirectory:
        return MemberDirectory(self.settings.members_directory / member)

    def _dataset(self, name: str) -> Dataset:
        """A data set, opened once: rendered on this node or fetched by the first trial that needs it."""
        if name not in self.datasets:
            file = self.settings.prepared_files.get(name)
            path = datasets.prepare(name) if file is None else file.on_this_node(name)
            dataset = datasets.open_dataset(name, path)
            if dataset.fingerprint != self.settings.fingerprints[name]:
                rule = f"`{path}` must hold the study's images, {self.settings.fingerprints[name]}"
                raise InvalidInputError(f"{rule}, got {dataset.fingerprint}: delete it on {platform.node()}")
            self.datasets[name] = dataset
        return self.datasets[name]
