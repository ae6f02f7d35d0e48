"""Things that tests of analysis share: a database of invented studies and searches, made once and only read."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeps.analysis import style
from tests.analysis.invented import STUDIES, grid, log_study
from tests.analysis.outcome import Script
from tests.analysis.search.invented_search import SEARCHES, log_search


@pytest.fixture(scope="module", autouse=True)
def frozen_heap() -> None:
    """Spare what is imported the collections of garbage for which statsmodels asks at each correction."""
    gc.freeze()


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """A database with STUDIES, then SEARCHES, then another sweep, the newest."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    shutil.copy(empty_database, path)
    client = MlflowClient(f"sqlite:///{path}")
    for name, members in STUDIES.items():
        log_study(client, name, members)
    for name, invented in SEARCHES.items():
        log_search(client, name, invented)
    log_study(client, "z-dim-sweep", [m for z_dim in (0, 5) for m in grid((1,), (0.01,), (0,), z_dim=z_dim)])
    return f"sqlite:///{path}"


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Script:
    """None yet: see `Script.of`."""
    return Script(lambda _: 1, (), tmp_path, capsys)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures become files without being rendered, which takes most of a script's time."""
    monkeypatch.setattr(style, "figure_bytes", lambda figure, kind, _="": f"{kind} of {len(figure.axes)} axes".encode())
