"""Shared by the tests of sweeps: one Ray session, tiny studies, and an MLflow database that is made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from larvae.config import Schedule
from larvae.datasets import Dataset
from sweeps.driver import connection
from sweeps.resources import missing_gpus
from sweeps.study import Study, StudyDirectory, grid

FIXED = {"batch_size": 4}
WITHOUT_CUDA = {"CUDA_VISIBLE_DEVICES": "", "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
"""Trials find no GPU behind the share of one that they hold, whatever machine the tests run on."""


@pytest.fixture(scope="session")
def ray_session(dataset: Dataset, ray_token: str) -> Iterator[None]:
    """Two CPUs and two GPUs that do not exist. The data set is made before: trials find it in the tests' cache."""
    import ray  # after `connection`, which sets what it reads

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(missing_gpus.VARIABLE, "1")
        connection.start_local(
            num_cpus=2,
            num_gpus=2,
            runtime_env={"env_vars": connection.WORKER_ENVIRONMENT | WITHOUT_CUDA},
            include_dashboard=False,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a run: making them takes seconds."""
    path = tmp_path_factory.mktemp("empty-database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Members trained in one go in this process, kept from test to test."""
    return tmp_path_factory.mktemp("alone")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which commands run."""
    path = tmp_path / "folder"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def folder_with_database(folder: Path, empty_database: Path) -> Path:
    """The same with `mlflow.db`, the default place."""
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


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
