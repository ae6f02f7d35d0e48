"""A member's life on disk: trained in rows, checkpointed, resumed, finished or failed.

A row is a plain dictionary: `iteration`, the mean of each loss term since the row before, metrics
where the member was evaluated, `seconds` of this process since the row before, evaluation
included, `seconds_per_iteration` of training alone, and the `timestamp` in seconds since the epoch.
"""

from __future__ import annotations

import platform
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from larvae.checkpoint import load_checkpoint, load_json, save_bytes, save_checkpoint, save_json
from larvae.config import FORMAT, MemberConfig, Schedule, require_format
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError
from larvae.evaluation import evaluate
from larvae.hardware import device_name
from larvae.training import Trainer
from larvae.traversal import reference_index, traversal_png

Row = dict[str, float]
ARITHMETIC = ("torch", "device", "compiled", "native", "precision")
"""What of an environment decides about the last bits of results."""


@dataclass(frozen=True, slots=True)
class MemberDirectory:
    """The files of one member."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def traversal(self) -> Path:
        """All label traversals as one picture, written at the member's end."""
        return self.path / "traversal.png"

    def read_result(self) -> dict[str, Any] | None:
        """`status` (finished, failed or stopped), `reason`, `config`, `history` and more; None before the end.

        None too where the file is damaged: the checkpoint has the history, and whoever goes on from it writes the
        same end anew.
        """
        try:
            result = load_json(self.result)
        except (FileNotFoundError, InvalidInputError):
            return None
        return result if "status" in result else None

    def write_result(
        self, config: MemberConfig, status: str, history: Sequence[Row], reason: str = "", **more: object
    ) -> None:
        """Write the member's end, whole and atomically."""
        result = {"format": FORMAT, "status": status, "reason": reason, "config": config.to_dict()}
        save_json(self.result, result | {"history": list(history), **more})

    def write_failure(self, config: MemberConfig, error: Exception, history: Sequence[Row] = ()) -> str:
        """Write the member's end by an error; return its reason, a line."""
        reason, trace = one_line(error), "".join(traceback.format_exception(error))
        self.write_result(config, "failed", history, reason, traceback=trace)
        return reason

    @property
    def stopped_at(self) -> int | None:
        """The iteration at which a search found the member to be none of the best and stopped it, if one did."""
        result = self.read_result()
        return result["stopped_at"] if result and result["status"] == "stopped" else None

    def last_evaluation(self, iterations: int) -> Row | None:
        """The final row of a member that finished at least `iterations`; None otherwise."""
        result = self.read_result()
        if result and result["status"] == "finished" and result["history"][-1]["iteration"] >= iterations:
            return result["history"][-1]
        return None


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
            state = _resume(self.trainer, directory.checkpoint, schedule.iterations)
            self.history = state["history"]
            self.environments = state["environments"]
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
        """What it runs on, and how, since some `iteration`."""
        return self.environments[-1]

    @property
    def is_at_the_end(self) -> bool:
        return self.trainer.iteration >= self.schedule.iterations

    def before_step(self) -> None:
        """Save a checkpoint when its time has come."""
        if time.monotonic() - self._saved_at >= self.schedule.checkpoint_seconds:
            self._save()
            self._saved_at = time.monotonic()

    def after_step(self) -> Row | None:
        """The row that ends with this step: at multiples of `log_every`, and at the end. Raises NonFiniteLossError."""
        iteration = self.trainer.iteration
        if iteration % self.schedule.log_every and not self.is_at_the_end:
            return None
        row: Row = {"iteration": iteration, **self.trainer.take_means()}
        training_seconds = time.perf_counter() - self._started
        row |= self._evaluate(iteration)
        row["seconds"] = time.perf_counter() - self._started
        row["seconds_per_iteration"] = training_seconds / (iteration - self._first)
        row["timestamp"] = time.time()
        self.history.append(row)
        if self.is_at_the_end:
            self._save()
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
            return evaluate(self.trainer, schedule.evaluation_size, metrics)
        if iteration % schedule.evaluate_every == 0:
            return evaluate(self.trainer, schedule.evaluation_size, schedule.metrics)
        return {}

    def _save(self) -> None:
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
    """What a member runs on, and how."""
    return {
        "torch": str(torch.__version__),  # else a class of PyTorch's, which checkpoints may not hold
        "python": platform.python_version(),
        "device": device_name(trainer.device),
        "compiled": trainer.compiled_in is not None,
        "native": trainer.is_native,
        "precision": str(trainer.compiled_in or torch.float32).removeprefix("torch."),
    }


def one_line(error: Exception) -> str:
    """An error's kind and the first line of its message."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def restore(checkpoint: Path, dataset: Dataset, *, device: str = "cpu") -> Trainer:
    """The trainer of a member as its checkpoint has it.

    Raises InvalidInputError when the file is not a whole checkpoint or not of this data set.
    """
    config, name = checkpoint_config(checkpoint), dataset.specification.name
    if config.dataset != name:
        raise InvalidInputError(f"`{checkpoint}` must be of the data set {name}, got one of {config.dataset}")
    trainer = Trainer(config, dataset, device=device)
    _load(trainer, _read(checkpoint, trainer), checkpoint)
    return trainer


def checkpoint_config(checkpoint: Path) -> MemberConfig:
    """The configuration of the member that wrote a checkpoint. InvalidInputError when it is not whole or of today."""
    config = _load_ours(checkpoint, "train the member again, or use the version that trained it").get("config") or {}
    try:
        return MemberConfig(**config)
    except TypeError as error:
        raise InvalidInputError(f"`{checkpoint}` must have a member's configuration, but: {error}") from None


def _resume(trainer: Trainer, checkpoint: Path, iterations: int) -> dict[str, Any]:
    """Take over a checkpoint's state of training; return all of it."""
    try:
        state = _read(checkpoint, trainer)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; delete it to train from the start") from None
    reached = state["trainer"]["iteration"]
    ended_there = reached == iterations == (state["history"] or [{}])[-1].get("iteration")
    if reached >= iterations and not ended_there:
        raise InvalidInputError(f"`iterations` must lie beyond `{checkpoint}`, which is at {reached}, got {iterations}")
    _load(trainer, state, checkpoint)
    return state


def _read(checkpoint: Path, trainer: Trainer) -> dict[str, Any]:
    """A checkpoint of the trainer's configuration and data set; InvalidInputError when it is another's."""
    state = _load_ours(checkpoint, "train the member again")
    for name, ours in (("config", trainer.config.to_dict()), ("fingerprint", trainer.dataset.fingerprint)):
        if state.get(name) != ours:
            raise InvalidInputError(f"`{checkpoint}` must have {name} {ours}, got {state.get(name)}")
    if missing := {"trainer", "history", "environments"} - state.keys():
        raise InvalidInputError(f"`{checkpoint}` must have {', '.join(sorted(missing))}, got {', '.join(state)}")
    return state


def _load_ours(checkpoint: Path, remedy: str) -> dict[str, Any]:
    """A whole checkpoint of today's format, or InvalidInputError. remedy: what to do about another format's."""
    state = load_checkpoint(checkpoint)
    require_format(state.get("format"), f"`{checkpoint}` was written", remedy)
    return state


def _load(trainer: Trainer, state: dict[str, Any], checkpoint: Path) -> None:
    try:
        trainer.load_state_dict(state["trainer"])
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(
            f"`{checkpoint}` must fit {trainer.num_latents} latents and its configuration, but: {reason}"
        ) from None
