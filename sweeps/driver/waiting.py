"""Says why trials wait, and ends a sweep that waits for a node that does not come."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from sweeps.console.progress import duration
from sweeps.driver.deaths import death_of
from sweeps.driver.workarounds.uncounted import uncount_failure
from sweeps.driver.workarounds.unsaved import Unsaved
from sweeps.resources.places import fits, gpu_hosts, living_nodes
from sweeps.trial.machine_faults import fault_in, host_without_gpu, is_broken_gpus

LOOK_SECONDS = 5.0
SAY_SECONDS = 60.0
LOST_SECONDS = 20.0
"""Seconds after which what no living node has is lost: trials are moved then, where there is somewhere to go."""
MOST_FAILED_STARTS = 3
"""Starts of processes that fail alike, until the sweep ends: what they import is not there, say."""
WAIT_SECONDS = 600.0
"""Seconds that a sweep waits once no node of its cluster could hold a trial: spot nodes come back in minutes."""


class NodesLostError(OSError):
    """No node was left that could hold a trial, or train its members."""


class NodeWatch(Unsaved, tune.Callback):
    """Looks after trials that are pending while none runs; Tune itself would say nothing and wait for ever."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """tell: says a line to the user."""
        self._tell = tell
        self.given_up = ""
        """Reason why the sweep was ended; empty where it was not."""
        self._idle_since: float | None = None
        self._lost_since: float | None = None
        self._looked_at = self._said_at = 0.0
        self._hosts_without_gpu: set[str] = set()
        self._at_broken_gpus: set[str] = set()  # trials that keep one
        self._failed_starts: list[tuple[str, str]] = []  # trials whose processes have not started since, and reasons

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS or self.given_up:
            return
        self._looked_at = now
        pending = {trial.placement_group_factory for trial in trials if trial.status == "PENDING"}
        if not pending or any(trial.status == "RUNNING" for trial in trials):
            self._idle_since = self._lost_since = None
            return
        self._idle_since = now if self._idle_since is None else self._idle_since
        requests = [dict(request.required_resources) for request in pending]
        if any(fits(request, node) for request in requests for node in living_nodes()):
            self._lost_since = None
            if now - self._idle_since > SAY_SECONDS:
                self._say(f"Waiting: what a trial takes ({_text(requests[0])}) is in use by others, or being started")
            return
        self._lost_since = now if self._lost_since is None else self._lost_since
        if now - self._lost_since > WAIT_SECONDS:
            rule = f"a node must hold a trial, but for {duration(WAIT_SECONDS)} none had {_text(requests[0])}"
            self._give_up(f"{rule}: start nodes")
        elif now - self._lost_since > LOST_SECONDS + LOOK_SECONDS:  # else they may be about to move
            waited = f"for {duration(WAIT_SECONDS)} at most"
            self._say(f"Waiting {waited}: no node is left that could hold a trial ({_text(requests[0])})")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial may tell of its machine's fault; no other is worth a try where PyTorch finds no GPU on any host."""
        fault = fault_in(result)
        if is_broken_gpus(fault):
            self._at_broken_gpus.add(trial.trial_id)
        else:
            self._at_broken_gpus.discard(trial.trial_id)
        self._failed_starts = [failed for failed in self._failed_starts if failed[0] != trial.trial_id]
        if host := host_without_gpu(fault):
            self._hosts_without_gpu.add(host)
            if gpu_hosts() <= self._hosts_without_gpu:
                self._give_up(f"trials must find machines that work, but {fault}")
        elif not fault and _gpus(trial) and result.get("members"):  # no sign of life, before it has tried its GPU
            self._hosts_without_gpu.discard(result.get("hostname", ""))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._at_broken_gpus.discard(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial leaves its machine, or its process has not started; no other is worth a try where none would work."""
        death = death_of(trial)
        if is_broken_gpus(death.reason):
            self._leave_gpu(trial, trials, death.reason)
        if death.is_at_start:
            self._failed_starts.append((trial.trial_id, death.reason))
            if [reason for _, reason in self._failed_starts].count(death.reason) >= MOST_FAILED_STARTS:
                self._give_up(f"the process of a trial must start, but {death.reason}")

    def _leave_gpu(self, trial: Any, trials: list[Any], reason: str) -> None:
        """A trial has kept a GPU that does not work for as long as it may, and will be given it again, or another."""
        kept = [other for other in trials if other.trial_id in self._at_broken_gpus]
        self._at_broken_gpus.discard(trial.trial_id)
        if any(other.status == "RUNNING" and _gpus(other) and other not in kept for other in trials):
            uncount_failure(trial)
        elif sum(map(_gpus, kept)) > sum(node.get("GPU", 0) for node in living_nodes()) - _gpus(trial):
            self._give_up(f"trials must find GPUs that work, but {reason}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune has given a trial up: where machines were at fault, the others would fare no better."""
        death = death_of(trial)
        if death.is_machines:
            self._give_up(f"trials must find machines that work, but {death.reason}: mend it")

    def require_nodes(self) -> None:
        """Raise NodesLostError if the sweep was ended for want of nodes, or of ones that work."""
        if self.given_up:
            raise NodesLostError(self.given_up)

    def _say(self, line: str) -> None:
        if time.monotonic() - self._said_at > SAY_SECONDS or not self._said_at:
            self._said_at = time.monotonic()
            self._tell(line)

    def _give_up(self, reason: str) -> None:
        """End Tune as Ctrl-C does, so that everything is kept."""
        if self.given_up:
            return
        self.given_up = f"{reason}, and the same command goes on"
        os.kill(os.getpid(), signal.SIGINT)


def _gpus(trial: Any) -> float:
    return float(trial.placement_group_factory.required_resources.get("GPU", 0))


def _text(request: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:.3g} {kind}" for kind, amount in request.items())
