"""A member's life: trained in rows, checkpointed, resumed, evaluated, finished or failed."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from larvae.advice import advise
from larvae.checkpoint import DamagedCheckpointError, previous, save_checkpoint
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.evaluation import evaluate, evaluate_held_out
from larvae.files import remove_partials, save_bytes
from larvae.hardware import device_name
from larvae.member_directory import MemberDirectory, Row
from larvae.native.library import version as native_version
from larvae.resuming import resume
from larvae.training import Trainer
from larvae.traversal import reference_index, traversal_png

ARITHMETIC = ("torch", "numpy", "scikit-learn", "device", "threads", "compiled", "native", "precision")
"""Entries of an environment that decide about the last bits of results."""


class Member:
    """A member in training: its trainer, its history, and when it is saved and looked at.

    Whatever kills the process, the next one of the same directory goes on from the last checkpoint and makes the
    same rows; a fused group's first one also tells how far its step deviates.
    """

    def __init__(
        self,
        config: MemberConfig,
        schedule: Schedule,
        dataset: Dataset,
        directory: MemberDirectory,
        *,
        device: str = "cpu",
        compiled: bool = False,
    ) -> None:
        """Goes on from the directory's checkpoint, if there is one. Raises InvalidInputError."""
        self.schedule, self.directory = schedule, directory
        self.trainer = Trainer(config, dataset, device=device, compiled=compiled)
        self.history: list[Row] = []
        self.last_row: Row | None = None
        """The row at the end of training while it lacks the metrics of whole data; then it is in the history."""
        self.environments: list[dict[str, Any]] = []
        self._notes: Row = {}
        self._has_trained = False
        remove_partials(directory.checkpoint)
        if state := self._newest_state():
            self._go_on(state)
        if not self.is_trained:
            self._enter(environment(self.trainer))
        self._started = time.perf_counter()
        self._first = self.trainer.iteration
        self._saved_at = time.monotonic()

    @property
    def name(self) -> str:
        """The content hash of its configuration."""
        return self.trainer.config.content_hash

    @property
    def environment(self) -> dict[str, Any]:
        """The software and hardware that it runs on, and how, since some `iteration`."""
        return self.environments[-1]

    @property
    def is_trained(self) -> bool:
        """True at the schedule's end."""
        return self.trainer.iteration >= self.schedule.iterations

    @property
    def is_evaluated(self) -> bool:
        """True if its history is whole."""
        return self.is_trained and self.last_row is None

    def note(self, entries: Row) -> None:
        """Entries for its next row."""
        self._notes |= entries

    def before_step(self) -> None:
        """Save a checkpoint when its time has come."""
        if time.monotonic() - self._saved_at >= self.schedule.checkpoint_seconds:
            self.save()
            self._saved_at = time.monotonic()

    def after_step(self) -> Row | None:
        """The row that ends with this step: at multiples of `log_every`, and at the end. Raises NonFiniteLossError.

        The one at the end is saved as it is, for `evaluate` to complete: that can take minutes, and needs no GPU.
        """
        iteration = self.trainer.iteration
        if iteration % self.schedule.log_every and not self.is_trained:
            return None
        row: Row = {"iteration": iteration, **self.trainer.take_means(), **self._notes}
        self._notes = {}
        training_seconds = time.perf_counter() - self._started
        row |= evaluate_held_out(self.trainer) if self.is_trained else self._metrics_at(iteration)
        row["seconds"] = time.perf_counter() - self._started
        row["seconds_per_iteration"] = training_seconds / (iteration - self._first)
        row["timestamp"] = time.time()
        self._started, self._first, self._has_trained = time.perf_counter(), iteration, True
        if self.is_trained:
            self.last_row = row
            self.save()
        else:
            self.history.append(row)
        return row

    def evaluate(self) -> Row:
        """Complete the row at the end by the metrics of whole data. Raises NonFiniteLossError."""
        assert self.last_row is not None
        schedule = self.schedule
        metrics = dict.fromkeys(schedule.metrics + schedule.final_metrics)
        values = evaluate(self.trainer, schedule.evaluation_size, metrics, schedule.evaluation_samples)
        row = self.last_row | values
        if self._has_trained:  # else the time is another process's
            row |= {"seconds": row["seconds"] + time.perf_counter() - self._started, "timestamp": time.time()}
        self.history.append(row)
        self.last_row = None
        self.save()
        return row

    def finish(self) -> None:
        """Write what there is at the end: label traversals, and the result."""
        config, trainer = self.trainer.config, self.trainer
        picture = traversal_png(trainer, reference_index(trainer.dataset.num_images, config.seed))
        save_bytes(self.directory.traversal, picture)
        self.directory.write_result(
            config, "finished", self.history, environment=self.environment, environments=self.environments
        )

    def fail(self, error: Exception) -> str:
        """Write the member's end by an error; return its reason, a line."""
        return self.directory.write_failure(self.trainer.config, error, self.history)

    def _metrics_at(self, iteration: int) -> dict[str, float]:
        schedule = self.schedule
        if iteration % schedule.evaluate_every:
            return {}
        values = evaluate(self.trainer, schedule.evaluation_size, schedule.metrics)
        return values | evaluate_held_out(self.trainer)

    def _newest_state(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole, taken over; None where there is none.

        Damaged ones are told, and removed: the next save would keep one in place of the good one.
        """
        newest = self.directory.checkpoint
        found = [path for path in (newest, previous(newest)) if path.exists()]
        if found and newest not in found:
            advise(f"member {self.name}: `{newest}` is missing: the one before is used")
        for path in found:
            try:
                return resume(self.trainer, path, self.schedule.iterations)
            except DamagedCheckpointError as error:
                then = "it starts again" if path == found[-1] else "the one before is used"
                advise(f"member {self.name}: {error}: {then}")
                path.unlink(missing_ok=True)
        return None

    def _go_on(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, whose end was an earlier one perhaps: then it is a row as others are."""
        self.history, self.environments = state["history"], state["environments"]
        self.last_row = state.get("last_row")
        if self.last_row is not None and not self.is_trained:
            self.history.append(self.last_row | self._metrics_at(self.trainer.iteration))
            self.last_row = None

    def save(self) -> None:
        """Write a checkpoint."""
        trainer = self.trainer
        state = {
            "format": FORMAT,
            "config": trainer.config.to_dict(),
            "fingerprint": trainer.dataset.fingerprint,
            "history": self.history,
            "last_row": self.last_row,
            "evaluated": self.is_evaluated,
            "environments": self.environments,
            "trainer": trainer.state_dict(),
        }
        save_checkpoint(self.directory.checkpoint, state)

    def become_plain(self) -> None:
        """Take the steps that follow as `networks` has them, in float32; the caller says why."""
        self.trainer.become_plain()
        if self.environment["iteration"] == self.trainer.iteration:  # in which no step was taken
            self.environments.pop()
        self._enter(environment(self.trainer), tells=False)

    def _enter(self, ours: dict[str, Any], *, tells: bool = True) -> None:
        """Go on in an environment; a warning where results can differ from those of the one before."""
        last = ours | (self.environments[-1] if self.environments else {})  # an older one tells less
        if last["native"] is True:  # not of which version
            last["native"] = ours["native"]
        changes = [f"{name} {ours[name]} after {last[name]}" for name in ARITHMETIC if ours[name] != last[name]]
        if changes or not self.environments:
            self.environments.append({"iteration": self.trainer.iteration} | ours)
        if changes and tells:
            place = f"member {self.name} goes on from iteration {self.trainer.iteration}"
            advise(f"{place} with {', '.join(changes)}: not bit for bit as before")


def train_member(
    config: MemberConfig,
    schedule: Schedule,
    dataset: Dataset,
    directory: MemberDirectory,
    *,
    compiled: bool = False,
) -> Iterator[Row]:
    """Train a member on the CPU to the schedule's end, yielding rows; the first ones are those of its checkpoint.

    Raises NonFiniteLossError, InvalidInputError; writes `result.json` when finished.
    """
    member = Member(config, schedule, dataset, directory, compiled=compiled)
    yield from member.history
    while not member.is_trained:
        member.before_step()
        member.trainer.step()
        if (row := member.after_step()) and not member.is_trained:
            yield row
    if not member.is_evaluated:
        yield member.evaluate()
    member.finish()


def environment(trainer: Trainer) -> dict[str, Any]:
    """The software and hardware that a member runs on, and how."""
    return {
        "torch": str(torch.__version__),  # else a class of PyTorch's, which checkpoints may not hold
        "numpy": np.__version__,
        "scikit-learn": importlib.metadata.version("scikit-learn"),
        "python": platform.python_version(),
        "device": device_name(trainer.device),
        "threads": torch.get_num_threads(),
        "compiled": trainer.compiled_in is not None,
        "native": native_version() if trainer.is_native else False,
        "precision": str(trainer.compiled_in or torch.float32).removeprefix("torch."),
    }
