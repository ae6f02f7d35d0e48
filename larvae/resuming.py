"""Trainers as checkpoints have them: to go on from, or to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from larvae.checkpoint import DamagedCheckpointError, load_checkpoint
from larvae.config import LATER_FIELDS, MemberConfig, require_format
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError
from larvae.training import Trainer


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
        return MemberConfig.from_dict(config)
    except (TypeError, AttributeError) as error:
        raise InvalidInputError(f"`{checkpoint}` must have a member's configuration, but: {error}") from None


def resume(trainer: Trainer, checkpoint: Path, iterations: int) -> dict[str, Any]:
    """Take over a checkpoint's state of training; return all of it. DamagedCheckpointError where it is not whole."""
    try:
        state = _read(checkpoint, trainer)
    except DamagedCheckpointError:
        raise
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; delete it to train from the start") from None
    reached = state["trainer"]["iteration"]
    last = state.get("last_row") or (state["history"] or [{}])[-1]
    is_an_end = "last_row" not in state or state["last_row"] is not None or state.get("evaluated", True)
    ended_there = reached == iterations == last.get("iteration") and is_an_end  # no row on the way to a later one
    if reached >= iterations and not ended_there:
        raise InvalidInputError(f"`iterations` must lie beyond `{checkpoint}`, which is at {reached}, got {iterations}")
    _load(trainer, state, checkpoint)
    return state


def _read(checkpoint: Path, trainer: Trainer) -> dict[str, Any]:
    """A checkpoint of the trainer's configuration and data set; InvalidInputError when it is another's."""
    state = _load_ours(checkpoint, "train the member again")
    config, fingerprint = state.get("config"), state.get("fingerprint")
    found = {**LATER_FIELDS, **config} if isinstance(config, dict) else config
    if found != trainer.config.to_dict():
        raise InvalidInputError(f"`{checkpoint}` must have config {trainer.config.to_dict()}, got {config}")
    if fingerprint != trainer.dataset.fingerprint:
        raise InvalidInputError(
            f"`{checkpoint}` must have fingerprint {trainer.dataset.fingerprint}, got {fingerprint}"
        )
    if missing := {"trainer", "history", "environments"} - state.keys():
        raise InvalidInputError(f"`{checkpoint}` must have {', '.join(sorted(missing))}, got {', '.join(state)}")
    if not isinstance(state["trainer"], dict) or not isinstance(state["trainer"].get("iteration"), int):
        raise InvalidInputError(f"`{checkpoint}` must have a trainer at some iteration, got {state['trainer']!r:.80}")
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
