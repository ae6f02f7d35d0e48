"""A probe measures what trains, and tells apart: too little memory, no free GPU, no GPU, and what else goes wrong."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from larvae.config import MemberConfig
from larvae.inputs import Sampler
from sweeps.resources import probe
from sweeps.resources.gpu_memory import CONTEXT_BYTES
from sweeps.resources.probe import Gpu, Probed, TimedProcess, failure, reserved_gpu
from sweeps.resources.rates import Measurement, Outcome
from sweeps.resources.stand_ins import stand_in

PROBED = Probed(MemberConfig(batch_size=2), cpus=1, compiles=False, most_processes=2)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_gpu_is_waited_for_and_probed_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """While others hold both: told once, and given up in time; of GPUs that do not exist PyTorch finds none."""
    monkeypatch.setattr(probe, "SAY_SECONDS", 0)
    monkeypatch.setattr(probe, "WAIT_SECONDS", 1.5)
    others, said = placement_group([{"GPU": 2}]), list[str]()
    assert others.wait(60)
    try:
        with reserved_gpu(PROBED, None, said.append) as gpu:
            assert gpu is None
        (line,) = said
        assert line.startswith("Waiting for a free GPU to measure what a trial takes, for ")
        monkeypatch.setattr(probe, "WAIT_SECONDS", 300)
        with reserved_gpu(PROBED, None, lambda line: remove_placement_group(others)) as gpu:
            assert gpu is not None
            assert gpu.gpu() is None
    finally:
        remove_placement_group(others)


class OnCpu(TimedProcess):
    """Trains on a CPU, as there is no GPU."""

    device = "cpu"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_processes_train_at_once_and_their_rates_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each counts its own interval, whichever process was there first."""
    monkeypatch.setattr(probe, "TimedProcess", OnCpu)
    monkeypatch.setattr(probe, "INTERVAL_SECONDS", 2.0)
    with reserved_gpu(PROBED, None, print) as gpu:
        assert gpu is not None
        rows = [gpu.measure(members, processes, 120) for members, processes in ((1, 1), (1, 2), (2, 1))]
    assert [row[:3] for row in rows] == [(1, 1, Outcome.MEASURED), (1, 2, Outcome.MEASURED), (2, 1, Outcome.MEASURED)]
    assert all(row.rate > 0 and row.process_bytes == CONTEXT_BYTES for row in rows)


def test_a_process_counts_the_iterations_of_all_its_members_in_the_interval_alone() -> None:
    process = OnCpu(PROBED, 1.0)
    process.warm_up(2)
    taken: list[float] = []
    step = process._step
    process._step = lambda: (step(), taken.append(time.time()))  # type: ignore[func-returns-value]
    start = time.time() + 0.5
    rate = process.rate(start, 1.0)
    counted = [moment for moment in taken if moment > start]
    assert len(taken) > len(counted) > 0  # it trains before, too
    assert rate == pytest.approx(2 * len(counted) / (taken[-1] - start), rel=0.3)


class Fails(TimedProcess):
    """Ends as its members' number says."""

    def warm_up(self, members: int) -> float:
        if members == 1:
            raise ValueError("no such kernel\nmore")
        if members == 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        if members == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()
        raise AssertionError


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_what_goes_wrong_is_told_and_the_next_measurement_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TimedProcess", Fails)
    said: list[str] = []
    with reserved_gpu(PROBED._replace(compiles=True), None, said.append) as gpu:
        assert gpu is not None
        monkeypatch.setattr(probe, "SAY_SECONDS", 2)
        rows = [gpu.measure(members, 1, seconds) for members, seconds in ((1, 60), (2, 60), (3, 60), (4, 6))]
    assert [row.outcome for row in rows] == [Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.FAILED, Outcome.FAILED]
    assert rows[0].reason == "ValueError: no such kernel"
    assert rows[2].reason.startswith("ActorDiedError: ")
    assert rows[3].reason == "it takes more than 0.1 min"
    assert said[-1] == "Compiling the step of 4 members together; takes minutes, once"


def test_a_full_node_and_a_full_gpu_are_out_of_memory() -> None:
    for error in (ray.exceptions.OutOfMemoryError("killed"), torch.OutOfMemoryError("CUDA out of memory")):
        assert failure(8, 2, error, 60) == Measurement(8, 2, Outcome.OUT_OF_MEMORY)


def test_a_gpu_is_what_pytorch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.torch.cuda, "is_available", lambda: True)
    found = type("Properties", (), {"name": "NVIDIA H100", "total_memory": 80 * 2**30})
    monkeypatch.setattr(probe.torch.cuda, "get_device_properties", lambda index: found)
    assert probe._gpu() == Gpu("NVIDIA H100", 80 * 2**30, torch.__version__.partition("+")[0])


@pytest.mark.parametrize("name", ["celeba", "shapes3d"])
def test_what_stands_in_for_a_data_set_has_labels_to_hold_out(name: str) -> None:
    """A search holds some out, and they must differ: also those that no grid of factors gives."""
    config = MemberConfig(dataset=name, held_out=0.1)
    assert len(Sampler(config, stand_in(name), lambda indices: indices).held_out) > 0
