from __future__ import annotations

import pytest
from mlflow import MlflowClient

from tests.analysis.invented import STUDIES, log_study


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with STUDIES, made once (that takes seconds): tests only read it."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"
    client = MlflowClient(uri)
    for name, members in STUDIES.items():
        log_study(client, name, members)
    return uri
