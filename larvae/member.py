"""A member's life on disk: trained in rows, checkpointed, resumed, finished or failed.

A row is a plain dictionary: `iteration`, the mean of each loss term since the row before, metrics
where the member was evaluated, `seconds` of this process since the row before, evaluation
included, `seconds_per_iteration` of training alone, and the `timestamp` in seconds since the epoch.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from larvae.checkpoint import load_checkpoint, save_bytes, save_checkpoint, save_json
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError
from larvae.evaluation import evaluate
from larvae.training import Trainer
from larvae.traversal import reference_index, traversal_png

Row = dict[str, float]


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
        """`status` (finished or failed), `reason`, `config`, `history` and more; None before the end."""
        try:
            return json.loads(self.result.read_text())
        except FileNotFoundError:
            return None

    def write_result(
        self, config: MemberConfig, status: str, history: list[Row], reason: str = "", **more: object
    ) -> None:
        """Write the member's end, whole and atomically."""
        result = {"status": status, "reason": reason, "config": config.to_dict(), "history": history, **more}
        save_json(self.result, result)

    def last_evaluation(self, iterations: int) -> Row | None:
        """The final row of a member that finished at least `iterations`; None otherwise."""
        result = self.read_result()
        if result and result["status"] == "finished" and result["history"][-1]["iteration"] >= iterations:
            return result["history"][-1]
        return None


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

    Whatever kills the process, the next call goes on from the last checkpoint and yields the same
    rows. Raises NonFiniteLossError, InvalidInputError; writes `result.json` when finished.
    """
    trainer = Trainer(config, dataset, device=device, compiled=compiled)
    history: list[Row] = []
    if directory.checkpoint.exists():
        history = _resume(trainer, directory.checkpoint, schedule.iterations)
        yield from history

    def save() -> None:
        state = {"config": config.to_dict(), "fingerprint": dataset.fingerprint, "history": history}
        save_checkpoint(directory.checkpoint, state | {"trainer": trainer.state_dict()})

    save_now_and_then = _Every(schedule.checkpoint_seconds, save)
    while trainer.iteration < schedule.iterations:
        history.append(_train_row(trainer, schedule, save_now_and_then))
        if trainer.iteration == schedule.iterations:
            save()
        yield history[-1]
    save_bytes(directory.traversal, traversal_png(trainer, reference_index(dataset.num_images, config.seed)))
    directory.write_result(config, "finished", history, environment=environment(device, compiled))


def environment(device: str, compiled: bool) -> dict[str, str | bool]:
    """What a member ran on."""
    name = (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or platform.machine()
    )
    return {"torch": torch.__version__, "python": platform.python_version(), "device": name, "compiled": compiled}


class _Every:
    """Calls a function again once some seconds have passed since the last time."""

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        self.seconds = seconds
        self.function = function
        self.last = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self.last >= self.seconds:
            self.function()
            self.last = time.monotonic()


def _train_row(trainer: Trainer, schedule: Schedule, checkpoint: _Every) -> Row:
    """Train to the next row's iteration (a multiple of `log_every`, or the end) and describe it."""
    first = trainer.iteration
    stop = min(first - first % schedule.log_every + schedule.log_every, schedule.iterations)
    started = time.perf_counter()
    while trainer.iteration < stop:
        checkpoint()
        trainer.step()
    row: Row = {"iteration": stop, **trainer.take_means()}
    training_seconds = time.perf_counter() - started
    if stop == schedule.iterations:
        row |= evaluate(trainer, schedule.evaluation_size, dict.fromkeys(schedule.metrics + schedule.final_metrics))
    elif stop % schedule.evaluate_every == 0:
        row |= evaluate(trainer, schedule.evaluation_size, schedule.metrics)
    row["seconds"] = time.perf_counter() - started
    row["seconds_per_iteration"] = training_seconds / (stop - first)
    return row | {"timestamp": time.time()}


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
    """The configuration of the member that wrote a checkpoint. InvalidInputError when it is not whole."""
    config = load_checkpoint(checkpoint).get("config") or {}
    try:
        return MemberConfig(**config)
    except TypeError as error:
        raise InvalidInputError(f"`{checkpoint}` must have a member's configuration, but: {error}") from None


def _resume(trainer: Trainer, checkpoint: Path, iterations: int) -> list[Row]:
    """Take over a checkpoint's state; return its history."""
    try:
        state = _read(checkpoint, trainer)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; delete it to train from the start") from None
    reached = state["trainer"]["iteration"]
    ended_there = reached == iterations == (state["history"] or [{}])[-1].get("iteration")
    if reached >= iterations and not ended_there:
        raise InvalidInputError(f"`iterations` must lie beyond `{checkpoint}`, which is at {reached}, got {iterations}")
    _load(trainer, state, checkpoint)
    return state["history"]


def _read(checkpoint: Path, trainer: Trainer) -> dict[str, Any]:
    """A checkpoint of the trainer's configuration and data set; InvalidInputError when it is another's."""
    state = load_checkpoint(checkpoint)
    for name, ours in (("config", trainer.config.to_dict()), ("fingerprint", trainer.dataset.fingerprint)):
        if state.get(name) != ours:
            raise InvalidInputError(f"`{checkpoint}` must have {name} {ours}, got {state.get(name)}")
    if missing := {"trainer", "history"} - state.keys():
        raise InvalidInputError(f"`{checkpoint}` must have {', '.join(sorted(missing))}, got {', '.join(state)}")
    return state


def _load(trainer: Trainer, state: dict[str, Any], checkpoint: Path) -> None:
    try:
        trainer.load_state_dict(state["trainer"])
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInputError(
            f"`{checkpoint}` must fit {trainer.num_latents} latents and its configuration, but: {reason}"
        ) from None
