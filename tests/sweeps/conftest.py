"""One Ray for all tests of this folder, with two GPUs that are only counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from larvae.config import Schedule
from larvae.datasets import Dataset
from sweeps import connection  # before Ray: it sets what Ray reads
from sweeps.study import Study, StudyDirectory, grid

FIXED = {"batch_size": 4}


@pytest.fixture(scope="session")
def ray_session(dataset: Dataset) -> Iterator[None]:
    """Two CPUs and two fake GPUs. The data set is prepared before: workers find it in the tests' cache."""
    ray.init(
        num_cpus=2,
        num_gpus=2,
        runtime_env={"env_vars": connection.WORKER_ENVIRONMENT},
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


@pytest.fixture
def small_study() -> Callable[..., Study]:
    """Builds a study of τ × one seed that is named as given."""

    def build(name: str, taus: tuple[float, ...] = (0.0, 1.0), iterations: int = 4) -> Study:
        schedule = Schedule(iterations=iterations, log_every=2, evaluate_every=4, evaluation_size=200)
        return grid(name, FIXED, {"seed": (0,), "label_rate": (0.01,), "tau": taus}, schedule)

    return build


@pytest.fixture
def study_directory(tmp_path: Path) -> StudyDirectory:
    return StudyDirectory(tmp_path / "study")
