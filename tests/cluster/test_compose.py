"""The MLflow server's compose file, and the script that it and plain hosts run."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from compose_spec import PyCompose
from sqlalchemy import create_engine

from tests.cluster.files import CLUSTER, ROOT, read_constraints
from tests.cluster.mlflow_host import SERVE, MLflowServer

DATABASE = re.compile(r"\b(?:postgresql|mysql|mssql)(?:\+\w+)?://[^\s\"',\]`]+")
TEXT = (CLUSTER / "mlflow" / "compose.yaml").read_text()
SECRETS = {"POSTGRES_PASSWORD": "0123abcd", "MLFLOW_NAMES": "mlflow.example.org"}


def substituted(environment: Mapping[str, str]) -> str:
    """The compose file with its variables put in, as Compose does; KeyError where a required one is missing."""

    def value(match: re.Match[str]) -> str:
        name, operator, otherwise = match.groups()
        if environment.get(name):
            return environment[name]
        if operator == ":-":
            return str(otherwise)
        raise KeyError(name)

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, TEXT)


def parsed(**environment: str) -> dict[str, Any]:
    return yaml.safe_load(substituted(SECRETS | environment))


def test_it_is_a_compose_file_and_what_would_be_wrong_is_found() -> None:
    text = substituted(SECRETS)
    assert PyCompose.from_yaml(text).service_names() == ["postgres", "mlflow"]
    for right, wrong in {
        "healthcheck:": "healthchek:",
        "restart: unless-stopped": "restart: 3",
        "condition: service_healthy": "condition: healthy",
        "interval: 5s": "interval: soon",
    }.items():
        assert right in text
        with pytest.raises(ValueError):  # noqa: PT011 - the library has no other
            PyCompose.from_yaml(text.replace(right, wrong, 1))


def test_it_holds_no_password_and_does_not_start_without() -> None:
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            substituted(SECRETS | {name: ""})
    lines = (CLUSTER / "mlflow" / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert [name for name in SECRETS if example[name]] == []
    assert set(re.findall(r"\$\{(\w+)", TEXT)) == example.keys() >= SECRETS.keys()
    environments = [service["environment"] for service in yaml.safe_load(TEXT)["services"].values()]
    passwords = [value for env in environments for name, value in env.items() if name.endswith("PASSWORD")]
    assert len(passwords) == 2
    assert all(value.startswith("${POSTGRES_PASSWORD:?") for value in passwords)


def test_services_are_healthy_in_order_keep_their_data_and_open_nothing_unless_asked() -> None:
    found = parsed()["services"]
    assert "ports" not in found["postgres"]
    assert found["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    assert parsed(MLFLOW_ADDRESS="10.0.0.5")["services"]["mlflow"]["ports"] == ["10.0.0.5:5000:5000"]
    assert found["mlflow"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for service in found.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert {mount.partition(":")[0] for mount in service["volumes"]} <= parsed()["volumes"].keys()
        assert re.search(r":\d", service["image"])
    assert found["mlflow"]["image"] == f"larvae-mlflow:{read_constraints()['mlflow']}"
    build = found["mlflow"]["build"]
    assert (CLUSTER / "mlflow" / build["context"] / build["dockerfile"]).exists()


def test_the_script_says_what_it_needs(tmp_path: Path) -> None:
    for words, names in (((), "mlflow"), (("sqlite:///x",), "mlflow"), (("sqlite:///x", "artifacts"), "")):
        environment = os.environ | {"MLFLOW_NAMES": names}
        command = ["bash", str(SERVE), *words]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: a database's URI, a folder of artifacts and MLFLOW_NAMES must be given")


def test_databases_are_written_with_a_driver_that_is_installed() -> None:
    """SQLAlchemy imports the driver that an address names, and one of its own choice where none is named."""
    distributions = packages_distributions()
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["server"]
    for path in ("mlflow/Dockerfile", "mlflow/serve.sh", "kubernetes/mlflow.yaml", "README.md"):
        addresses = DATABASE.findall((CLUSTER / path).read_text())
        drivers = {create_engine(address).dialect.driver for address in addresses}
        packages = {package for driver in drivers for package in distributions[driver]}
        assert packages == {re.split("[<>=]", requirement)[0] for requirement in extra} != set()
        assert packages <= read_constraints().keys()
        assert packages <= set((CLUSTER / "mlflow" / "Dockerfile").read_text().split())


@pytest.mark.slow
def test_the_server_answers_to_its_names_alone(tmp_path: Path) -> None:
    server = MLflowServer(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)  # by the name of `mlflow`
    try:
        server.start()
        address = f"{server.uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
        for status, hosts in (
            (200, ("mlflow:5000", "mlflow", "localhost:5000")),
            (403, ("evil.example.org", "mlflow.evil.example.org:5000", "10.0.0.9:5000")),
        ):
            answers = [requests.get(address, headers={"Host": host}, timeout=60).status_code for host in hosts]
            assert answers == [status] * 3
    finally:
        server.kill()
