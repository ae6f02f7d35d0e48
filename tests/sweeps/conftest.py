"""Shared by the tests of sweeps: tiny studies, and folders in which commands run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from larvae.config import Schedule
from sweeps.study import Study, StudyDirectory, grid

FIXED = {"batch_size": 4}


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
