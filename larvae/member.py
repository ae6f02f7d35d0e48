"""A member's life: trained in rows, checkpointed, resumed, finished or failed."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from larvae.checkpoint import save_checkpoint
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.evaluation import evaluate
from larvae.files import save_bytes
from larvae.hardware import device_name
from larvae.member_directory import MemberDirectory, Row
from larvae.resuming import resume
from larvae.training import Trainer
from larvae.traversal import reference_index, traversal_png

ARITHMETIC = ("torch", "device", "compiled", "native", "precision")
"""Entries of an environment that decide about the last bits of results."""


class Member:
    """A member in training: its trainer, its history, and when it is saved and looked at.

    Whatever kills the process, the next one of the same directory goes on from the last checkpoint and makes the
    same rows.
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
        self.environments: list[dict[str, Any]] = []
        if directory.checkpoint.exists():
            state = resume(self.trainer, directory.checkpoint, schedule.iterations)
            self.history = state["history"]
            self.environments = state["environments"]
        self._enter(environment(self.trainer))
        self._started = time.perf_counter()
        self._first = self.trainer.iteration
        self._saved_at = time.monotonic()
        self._notes: Row = {}

    @property
    def name(self) -> str:
        """The content hash of its configuration."""
        return self.trainer.config.content_hash

    @property
    def environment(self) -> dict[str, Any]:
        """The software and hardware that it runs on, and how, since some `iteration`."""
        return self.environments[-1]

    @property
    def is_at_the_end(self) -> bool:
        return self.trainer.iteration >= self.schedule.iterations

    def note(self, entries: Row) -> None:
        """Entries for its next row."""
        self._notes |= entries

    def before_step(self) -> None:
        """Save a checkpoint when its time has come."""
        if time.monotonic() - self._saved_at >= self.schedule.checkpoint_seconds:
            self.save()
            self._saved_at = time.monotonic()

    def after_step(self) -> Row | None:
        """The row that ends with this step: at multiples of `log_every`, and at the end. Raises NonFiniteLossError."""
        iteration = self.trainer.iteration
        if iteration % self.schedule.log_every and not self.is_at_the_end:
            return None
        row: Row = {"iteration": iteration, **self.trainer.take_means(), **self._notes}
        self._notes = {}
        training_seconds = time.perf_counter() - self._started
        row |= self._evaluate(iteration)
        row["seconds"] = time.perf_counter() - self._started
        row["seconds_per_iteration"] = training_seconds / (iteration - self._first)
        row["timestamp"] = time.time()
        self.history.append(row)
        if self.is_at_the_end:
            self.save()
        self._started, self._first = time.perf_counter(), iteration
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

    def _evaluate(self, iteration: int) -> dict[str, float]:
        schedule = self.schedule
        if self.is_at_the_end:
            metrics = dict.fromkeys(schedule.metrics + schedule.final_metrics)
            return evaluate(self.trainer, schedule.evaluation_size, metrics, schedule.evaluation_samples)
        if iteration % schedule.evaluate_every == 0:
            return evaluate(self.trainer, schedule.evaluation_size, schedule.metrics)
        return {}

    def save(self) -> None:
        """Write a checkpoint."""
        trainer = self.trainer
        state = {
            "format": FORMAT,
            "config": trainer.config.to_dict(),
            "fingerprint": trainer.dataset.fingerprint,
            "history": self.history,
            "environments": self.environments,
            "trainer": trainer.state_dict(),
        }
        save_checkpoint(self.directory.checkpoint, state)

    def _enter(self, ours: dict[str, Any]) -> None:
        """Go on in an environment; a warning where results can differ from those of the one before."""
        last = self.environments[-1] if self.environments else ours
        changes = [f"{name} {ours[name]} after {last[name]}" for name in ARITHMETIC if ours[name] != last[name]]
        if changes or not self.environments:
            self.environments.append({"iteration": self.trainer.iteration} | ours)
        if changes:
            place = f"member {self.name} goes on from iteration {self.trainer.iteration}"
            warnings.warn(f"{place} with {', '.join(changes)}: not bit for bit as before", stacklevel=3)


def train_member(
    config: MemberConfig,
    schedule: Schedule,
    dataset: Dataset,
    directory: MemberDirectory,
    *,
    device: str = "cpu",
    compiled: bool = False,
) -> Iterator[Row]:
    """Train a member to the schedule's end, yielding rows; the first ones are those of its checkpoint.

    Raises NonFiniteLossError, InvalidInputError; writes `result.json` when finished.
    """
    member = Member(config, schedule, dataset, directory, device=device, compiled=compiled)
    yield from member.history
    while not member.is_at_the_end:
        member.before_step()
        member.trainer.step()
        if row := member.after_step():
            yield row
    member.finish()


def environment(trainer: Trainer) -> dict[str, Any]:
    """The software and hardware that a member runs on, and how."""
    return {
        "torch": str(torch.__version__),  # else a class of PyTorch's, which checkpoints may not hold
        "python": platform.python_version(),
        "device": device_name(trainer.device),
        "compiled": trainer.compiled_in is not None,
        "native": trainer.is_native,
        "precision": str(trainer.compiled_in or torch.float32).removeprefix("torch."),
    }
