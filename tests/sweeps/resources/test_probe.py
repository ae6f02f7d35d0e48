"""A probe tells apart: a GPU that is too small, one that is not free, none at all, and what else goes wrong."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from larvae.config import MemberConfig
from sweeps.resources import probe
from sweeps.resources.probe import Measurement, Outcome, probe_gpu_memory

MEMBER = MemberConfig(batch_size=2)
Step = Callable[[MemberConfig, int], Measurement]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_gpu_is_waited_for_and_probed_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """While others hold both: told once, and given up in time; of GPUs that do not exist PyTorch finds none."""
    monkeypatch.setattr(probe, "SAY_SECONDS", 0)
    monkeypatch.setattr(probe, "WAIT_SECONDS", 1.5)
    others, said = placement_group([{"GPU": 2}]), list[str]()
    assert others.wait(60)
    try:
        assert probe_gpu_memory(MEMBER, 1, said.append) == Measurement(Outcome.NO_FREE_GPU)
        (line,) = said
        assert line.startswith("Waiting for a free GPU to measure what a trial takes, for ")
        monkeypatch.setattr(probe, "WAIT_SECONDS", 300)
        outcome = probe_gpu_memory(MEMBER, 1, lambda line: remove_placement_group(others)).outcome
        assert outcome is Outcome.NO_CUDA
    finally:
        remove_placement_group(others)


def _raises(member: MemberConfig, together: int) -> Measurement:
    raise ValueError("no such kernel\nmore")


def _dies(member: MemberConfig, together: int) -> Measurement:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _never_ends(member: MemberConfig, together: int) -> Measurement:
    threading.Event().wait()
    raise AssertionError


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("step", "seconds", "reason"),
    [
        (_raises, 60, "ValueError: no such kernel"),
        (_dies, 60, "WorkerCrashedError: "),
        (_never_ends, 3, "it takes more than 0.05 min"),
    ],
)
def test_what_else_goes_wrong_is_told(step: Step, seconds: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_train_few_steps", step)
    monkeypatch.setattr(probe, "PROBE_SECONDS", seconds)
    measured = probe_gpu_memory(MEMBER, 1, print)
    assert measured.outcome is Outcome.FAILED
    assert measured.reason.startswith(reason)
    assert "\n" not in measured.reason


def test_a_step_that_runs_out_of_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def trainer(*args: object, **settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(probe.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(probe, "Trainer", trainer)
    assert probe._train_few_steps(MEMBER, 8) == Measurement(Outcome.OUT_OF_MEMORY)
