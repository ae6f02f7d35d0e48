"""Measures what a trial takes of a GPU, by training a few steps on one of the cluster's."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from larvae import datasets
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.datasets.specification import Specification
from larvae.datasets.store import BYTES_PER_IMAGE
from larvae.errors import one_line
from larvae.functional import can_compile
from larvae.group import Group
from larvae.training import ENCODING_BATCH, Trainer
from sweeps.resources.gpu_memory import CONTEXT_BYTES

PROBE_SECONDS = 300
"""A probe that compiles a step may take minutes."""
WAIT_SECONDS = 300
"""Seconds that a probe waits for a GPU that nobody uses."""
SAY_SECONDS = 10
"""Waiting that is not worth a line."""


class Outcome(Enum):
    """The outcome of a probe."""

    MEASURED = "measured"
    OUT_OF_MEMORY = "out of memory"
    NO_CUDA = "PyTorch finds no GPU where Ray has one"
    NO_FREE_GPU = "no GPU was free"
    FAILED = "failed"


class Measurement(NamedTuple):
    """The measurement of a probe."""

    outcome: Outcome
    trial_bytes: float | None = None
    """Bytes that a trial takes of a GPU; None where nothing was measured."""
    gpu_bytes: float | None = None
    """Bytes that the GPU has; None where nothing was measured."""
    reason: str = ""
    """Reason why it failed."""


def probe_gpu_memory(member: MemberConfig, together: int, tell: Callable[[str], None]) -> Measurement:
    """Train some members like one for a few steps on a GPU of the cluster, as soon as one is free.

    tell: says a line to the user.
    """
    with _reserved_gpu() as group:
        if not _is_there(group, tell):
            return Measurement(Outcome.NO_FREE_GPU)
        strategy = PlacementGroupSchedulingStrategy(group)
        probe = ray.remote(num_gpus=1, max_calls=1, max_retries=0, scheduling_strategy=strategy)(_train_few_steps)
        try:
            return ray.get(probe.remote(member, together), timeout=PROBE_SECONDS)
        except ray.exceptions.OutOfMemoryError:  # of the node's memory
            return Measurement(Outcome.OUT_OF_MEMORY)
        except ray.exceptions.GetTimeoutError:
            return Measurement(Outcome.FAILED, reason=f"it takes more than {PROBE_SECONDS / 60:g} min")
        except ray.exceptions.RayTaskError as error:
            return Measurement(Outcome.FAILED, reason=one_line(error.cause))
        except (ray.exceptions.RayError, RuntimeError) as error:
            return Measurement(Outcome.FAILED, reason=one_line(error))


@contextlib.contextmanager
def _reserved_gpu() -> Iterator[PlacementGroup]:
    """A GPU that Ray reserves when one is free; given back at the end, with the process that uses it."""
    group = placement_group([{"CPU": 1, "GPU": 1}])
    try:
        yield group
    finally:
        remove_placement_group(group)


def _is_there(group: PlacementGroup, tell: Callable[[str], None]) -> bool:
    """Tell whether Ray has reserved a GPU within some minutes; `tell` is called when that takes more than seconds."""
    started, is_told = time.monotonic(), False
    while not group.wait(1):  # no longer: Ctrl-C does not end it
        waited = time.monotonic() - started
        if waited > WAIT_SECONDS:
            return False
        if waited > SAY_SECONDS and not is_told:
            tell(f"Waiting for a free GPU to measure what a trial takes, for {WAIT_SECONDS / 60:g} min at most")
            is_told = True
    return True


def _train_few_steps(member: MemberConfig, together: int) -> Measurement:
    if not torch.cuda.is_available():
        return Measurement(Outcome.NO_CUDA)
    dataset = blank_dataset(datasets.specification(member.dataset))
    configs = [dataclasses.replace(member, seed=seed) for seed in range(together)]
    try:
        trainers = [Trainer(config, dataset, device="cuda", compiled=can_compile()) for config in configs]
        step = Group(trainers).step if together > 1 else trainers[0].step
        for _ in range(3):
            step()
        trainers[0].posterior_means(trainers[0].labelled[:ENCODING_BATCH])
    except torch.OutOfMemoryError:
        return Measurement(Outcome.OUT_OF_MEMORY)
    taken = torch.cuda.max_memory_reserved() + CONTEXT_BYTES + _images_bytes(dataset.specification)
    return Measurement(Outcome.MEASURED, taken, torch.cuda.get_device_properties(0).total_memory)


def _images_bytes(specification: Specification) -> int:
    """Bytes of a process's images on a GPU (`larvae.datasets.on_device`): binary ones lie there, packed to bits."""
    return specification.num_images * BYTES_PER_IMAGE if specification.channels == 1 else 0


class BlankImages:
    """Stands in for a data set's images where only their shape matters: no node need have them."""

    maximum = 1
    fingerprint = ""

    def __init__(self, specification: Specification) -> None:
        self.specification = specification

    def images(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        return np.zeros((len(indices), self.specification.channels, 64, 64), np.uint8)

    def classes(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        return np.zeros((len(indices), self.specification.factors.num_factors), np.int64)


def blank_dataset(specification: Specification) -> Dataset:
    """A data set of black images."""
    return Dataset(specification, BlankImages(specification))
