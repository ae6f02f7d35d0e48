"""Fixtures that all tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from larvae import datasets
from larvae.datasets import Dataset

WITHOUT_CUDA = {"CUDA_VISIBLE_DEVICES": "", "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
"""Trials find no GPU behind the share of one that they hold, whatever machine the tests run on."""


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread files over processes: what a file's tests share is made once, and so is the Ray that many files share."""
    for item in items:
        shares_ray = "ray_session" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("ray" if shares_ray else item.path.name))


@pytest.fixture(scope="session", autouse=True)
def cache_directory() -> Iterator[Path]:
    """A cache of this test session's own: the user's is neither read nor written."""
    with (
        tempfile.TemporaryDirectory(prefix="larvae-tests-", ignore_cleanup_errors=True) as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("LARVAE_CACHE_DIR", directory)
        yield Path(directory)


@pytest.fixture(scope="session", autouse=True)
def ray_token(cache_directory: Path) -> Iterator[str]:
    """A token of this test session's own, for every Ray that it starts: the user's is neither read nor made."""
    file = cache_directory / "auth_token"
    file.touch(mode=0o600)
    file.write_text("token-of-the-tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
        yield file.read_text()


@pytest.fixture(scope="session", autouse=True)
def equal_niceness() -> Iterator[None]:
    """Workers of Ray as nice as the tests that wait for them: at Ray's 15 a busy machine gives them a hundredth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Sums in one order, whatever machine the tests run on; tiny batches gain nothing from threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(cache_directory: Path) -> Dataset:
    """All of dSprites, rendered once."""
    return datasets.open_dataset("dsprites", datasets.prepare("dsprites"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a run: making them takes seconds."""
    from mlflow import MlflowClient  # late: most tests need no MLflow

    path = tmp_path_factory.mktemp("empty-database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def ray_session(dataset: Dataset, ray_token: str) -> Iterator[None]:
    """Two CPUs and two GPUs that do not exist. One for all tests of a process; the data set is
    made before: trials find it in the tests' cache."""
    import ray  # after `connection`, which sets what it reads

    from sweeps.driver import connection  # late: most tests need no Ray
    from sweeps.resources import missing_gpus

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
