"""What a probe tells apart: a GPU that is too small, one that is not free, none at all, and what else goes wrong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from larvae.config import MemberConfig
from sweeps.resources import probe, shares
from sweeps.resources.probe import Measurement, Outcome, probe_gpu_memory
from sweeps.resources.shares import TrialResources, trial_resources

MEMBERS = [MemberConfig(batch_size=2, seed=seed) for seed in range(8)]
Step = Callable[[MemberConfig, int], Measurement]


@pytest.fixture
def all_gpus_in_use(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Others hold both GPUs, and a wait is short."""
    monkeypatch.setattr(probe, "SAY_SECONDS", 0.5)
    monkeypatch.setattr(probe, "WAIT_SECONDS", 2.5)
    group = placement_group([{"GPU": 2}])
    assert group.wait(30)
    yield
    remove_placement_group(group)


@pytest.mark.usefixtures("all_gpus_in_use")
@pytest.mark.parametrize(("given", "members"), [(None, 8), (2, 2)])
def test_a_probe_that_gets_no_gpu_waits_once_and_changes_nothing(given: int | None, members: int) -> None:
    said: list[str] = []
    assert trial_resources(1, None, given, MEMBERS, tell=said.append) == TrialResources(1, 1 / 6, members)
    waiting, given_up = said  # once
    assert waiting.startswith("Waiting for a free GPU to measure what a trial takes, for ")
    assert "(no GPU was free): " in given_up
    assert given_up.endswith(
        f"a trial of {members} members takes 0.167 GPU by default; free a GPU, or set --gpus-per-trial"
    )


@pytest.mark.usefixtures("ray_session")
def test_a_gpu_that_becomes_free_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SAY_SECONDS", 0.5)
    others, said = placement_group([{"GPU": 2}]), list[str]()
    assert others.wait(30)

    def tell(line: str) -> None:
        said.append(line)
        remove_placement_group(others)

    assert probe_gpu_memory(MEMBERS[0], 1, tell).outcome is Outcome.NO_CUDA
    assert len(said) == 1


@pytest.mark.usefixtures("ray_session")
def test_free_gpus_are_not_waited_for_and_without_cuda_members_train_alone() -> None:
    said: list[str] = []
    assert trial_resources(1, None, None, MEMBERS, tell=said.append) == TrialResources(1, 1 / 6, 1)
    assert said == []


def _raises(member: MemberConfig, together: int) -> Measurement:
    raise ValueError("no such kernel\nmore")


def _dies(member: MemberConfig, together: int) -> Measurement:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _takes_long(member: MemberConfig, together: int) -> Measurement:
    time.sleep(600)
    raise AssertionError


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("step", "seconds", "reason"),
    [
        (_raises, 60, "ValueError: no such kernel)"),
        (_dies, 60, "WorkerCrashedError: "),
        (_takes_long, 3, "it takes more than 0.05 min)"),
    ],
)
def test_what_else_goes_wrong_is_told(step: Step, seconds: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_train_few_steps", step)
    monkeypatch.setattr(probe, "PROBE_SECONDS", seconds)
    said: list[str] = []
    assert trial_resources(1, None, None, MEMBERS, tell=said.append) == TrialResources(1, 1 / 6, 8)
    (line,) = said
    assert f"(failed: {reason}" in line
    assert line.endswith("a trial of 8 members takes 0.167 GPU by default; set --gpus-per-trial")


def test_a_step_that_runs_out_of_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def trainer(*args: object, **settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(probe.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(probe, "Trainer", trainer)
    assert probe._train_few_steps(MEMBERS[0], 8) == Measurement(Outcome.OUT_OF_MEMORY)


def test_out_of_memory_halves_the_members_and_is_the_only_thing_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares.ray, "cluster_resources", lambda: {"CPU": 8, "GPU": 2})
    outcomes = [Outcome.OUT_OF_MEMORY, Outcome.OUT_OF_MEMORY, Outcome.NO_FREE_GPU]
    probed: list[int] = []

    def probe(member: MemberConfig, together: int, tell: Callable[[str], None]) -> Measurement:
        probed.append(together)
        return Measurement(outcomes[len(probed) - 1])

    monkeypatch.setattr(shares, "probe_gpu_memory", probe)
    assert trial_resources(1, None, None, MEMBERS) == TrialResources(1, 1 / 6, 2)
    assert probed == [8, 4, 2]
