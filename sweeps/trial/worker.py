"""A trial's work, without Tune: trains one member or several and reports their rows. Plans time it, trials do it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import platform
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from larvae import datasets
from larvae.advice import advice_taken, advise
from larvae.compiling import can_compile
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError, one_line
from larvae.hardware import device_name
from larvae.member import Member
from larvae.member_directory import MemberDirectory, last_iteration
from larvae.metrics import HELD_OUT_METRICS, held_out
from larvae.out_of_memory import is_broken_process, is_machines, is_out_of_memory
from larvae.phases import current_phase
from larvae.together.training_together import Report, Together
from sweeps.resources.taken_gpu import HELD_SECONDS, BrokenGpuError, take_gpu
from sweeps.trial.background import Background, in_thread
from sweeps.trial.machine_faults import FAULT_SECONDS, MachineFaultError
from sweeps.trial.mailbox import Mailbox
from sweeps.trial.member_log import MOST_STARTS, MemberLog, silence, starts_without_progress
from sweeps.trial.trial_settings import TrialSettings

LOOK_SECONDS = 1.0
"""Seconds that a phase has lasted before it is told; one that is shorter is of no interest."""
SIGN_SECONDS = 2.0
"""Seconds beyond those of a report after which a trial gives a sign of life: it compiles, say, for a minute."""
RESTING = "waiting, as its machine has a fault"
"""The phase of a trial before it leaves its machine."""
SAVE_SECONDS = 10.0
"""Seconds for which a trial that is told to stop waits for the iteration that it is in."""
_HELD_OUT = frozenset(map(held_out, HELD_OUT_METRICS))


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
        self._background = Background("training")
        self._background.submit(lambda: torch.set_num_threads(settings.cpus))  # some of it is each thread's own
        self._job: concurrent.futures.Future[dict[str, Any]] | None = None
        self._together: Together | None = None
        self.fault = self._told_phase = ""
        self._leaves_at, self._is_broken = 0.0, False
        self.gpus = settings.gpus if gpus is None else gpus
        self.evaluates = self.gpus == 0
        """True if members are evaluated here: where a GPU is held, another trial does so, which needs none."""
        self._compiles = settings.compile and (self.gpus > 0 or settings.gpus == 0)
        self.take_on([])

    def take_on(self, members: Sequence[MemberConfig], mailbox: Mailbox | None = None) -> None:
        """Take on other members; the data and the compiled step are kept.

        mailbox: brings more of them while these train; the trial then lasts until it is stopped.
        """
        self.close(patience=None)
        self._is_stopping = False
        self.open = {config.content_hash: config for config in members}
        self._together = None
        self._mailbox, self._place = mailbox, 0
        self._taken, self._dropped = list(members), list[str]()
        self.reports = self._train()
        self._last_kept: dict[str, float] = {}
        self.fault = self.fault if self._is_broken else ""

    def step(self) -> dict[str, Any]:
        """Train for some seconds. Reports `members`: by name, each one's `rows`, `status` and `reason`.

        `advice`: lines for the user. `phase`: that of work which takes long; it goes on in a thread, and where there is
        nothing else to tell, as it `is_waiting` for that, the phase is a sign of life.

        status: running, trained (to be evaluated by another trial; the last row lacks metrics), finished, failed, or
        out_of_memory: to be tried again with fewer beside it. A fault of the machine is the reason of those running,
        for some seconds; then it is raised.
        """
        if self.fault:
            return self._rest()
        self._job = self._job or self._background.submit(self._advised_step)
        if not self._ends_soon(self._job):
            return {"members": {}, "done": False, "advice": [], "phase": current_phase(), "is_waiting": True}
        report, self._job, self._told_phase = self._job.result(), None, ""
        return {**report, "phase": "", "is_waiting": False}

    def _rest(self) -> dict[str, Any]:
        """Keep the place for a while, or a bad machine would take all trials from good ones; then raise the fault."""
        left = self._leaves_at - time.monotonic()
        if left <= 0:
            raise MachineFaultError(self.fault)
        time.sleep(min(left, SIGN_SECONDS + self.settings.report_seconds))
        members = {name: Report(name, [], "running", self.fault)._asdict() for name in self.open}
        return {"members": members, "done": False, "advice": [], "phase": RESTING, "is_waiting": True}

    def close(self, patience: float | None = SAVE_SECONDS) -> None:
        """Save what is open after the iteration that it is in: the command, or the process, is told to stop.

        patience: seconds to wait for that; after them the last checkpoint stands.
        """
        self._is_stopping = True
        with contextlib.suppress(concurrent.futures.TimeoutError, OSError):
            self._background.submit(self._save).result(patience)
        self._job = None

    def _save(self) -> None:
        together = self._together
        for member in together.members if together and not self.fault else ():
            if member.name in self.open and not member.is_trained:
                member.save()

    def _ends_soon(self, job: concurrent.futures.Future[dict[str, Any]]) -> bool:
        """Wait for a job; False when it is time for a sign of life, or to tell of the phase that it is in."""
        until = time.monotonic() + self.settings.report_seconds + SIGN_SECONDS
        phase = ""
        while time.monotonic() < until:
            if concurrent.futures.wait([job], LOOK_SECONDS).done:
                return True
            before, phase = phase, current_phase()
            if phase == before != self._told_phase:
                self._told_phase = phase
                return False
        return False

    def _advised_step(self) -> dict[str, Any]:
        with advice_taken() as advice:
            return {**self._step(), "advice": advice}

    def _step(self) -> dict[str, Any]:
        started = time.monotonic()
        self._read_mailbox()
        reports: dict[str, Report] = {}
        is_done = False
        try:
            while time.monotonic() - started < self.settings.report_seconds and not self._is_stopping:
                found = next(self.reports)
                for report in found:
                    self._add(reports, report)
                if self._may_decide(found) or not self.open:
                    break
        except StopIteration:
            is_done = True
        except Exception as error:  # of the step that the members share
            if is_machines(error) or is_broken_process(error):
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

    def _keep_rows(self, reports: dict[str, Report]) -> None:
        """Put rows into the members' folders, in one go each; those of a checkpoint are there, as a rule."""
        try:
            for name, report in reports.items():
                last = self._last_kept.get(name, 0)
                whole = report.rows[:-1] if report.status == "trained" else report.rows
                if rows := [row for row in whole if row["iteration"] > last]:
                    self._directory(name).append_rows(rows)
                    self._last_kept[name] = rows[-1]["iteration"]
        except OSError as error:
            self._leave(reports, error)

    def _end_open(self, reports: dict[str, Report], status: str, error: Exception) -> None:
        """End all members that have not ended yet."""
        for name, config in list(self.open.items()):
            if status == "failed":
                self._directory(name).write_failure(config, error)
            self._add(reports, Report(name, [], status, one_line(error)))

    def _leave(self, reports: dict[str, Report], error: Exception) -> None:
        """Tell what is wrong with the machine, or the process; steps rest from now on, and the last one raises it.

        Members' logs tell faults of the machine alone: what breaks each process at one iteration may be the member's.
        """
        self.fault = f"{platform.node()}: {one_line(error)}"
        self._is_broken = is_broken_process(error)  # also for members that this process may be given next
        is_gpus = isinstance(error, BrokenGpuError)
        self._leaves_at = time.monotonic() + (HELD_SECONDS if is_gpus else FAULT_SECONDS)
        if is_gpus:
            advise(f"{self.fault}; it is kept from other trials for {HELD_SECONDS / 60:.0f} min, then tried again")
        for name in self.open:
            self._add(reports, Report(name, [], "running", self.fault))
            if is_machines(error):
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
        on_gpu = self._takes_gpu()
        slots = self.settings.slots if self._mailbox else 0
        together = self._together = Together(fused=on_gpu, evaluates=self.evaluates, slots=slots)
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
            except Exception as error:  # its checkpoint, or its data; a GPU that cannot hold any is told of each
                if is_machines(error) or is_out_of_memory(error):
                    raise
                reason = self._directory(config.content_hash).write_failure(config, error)
                failed.append(Report(config.content_hash, [], "failed", reason))
        return members, failed

    def _takes_gpu(self) -> bool:
        """Tell whether members train on a GPU, having tried it. Raises what `take_gpu` does."""
        if self.gpus == 0 or (self.settings.gpus_may_be_missing and not torch.cuda.is_available()):
            return False
        take_gpu(self.gpus, functools.partial(in_thread, name="trying its GPU"))
        return True

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
        events = log.read()
        starts = starts_without_progress(events, self.settings.command, iteration)
        if starts >= MOST_STARTS and not member.is_evaluated:
            cause = silence(events) or "killed, out of memory, or its node lost"
            raise RuntimeError(f"its process died {starts} times after iteration {iteration} ({cause})")
        kept, _ = member.directory.read_rows()
        self._last_kept[member.name] = last_iteration(kept)
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
