"""The MLflow server's compose file, and the script that it and plain hosts run."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from compose_spec import PyCompose
from sqlalchemy import create_engine

from tests.cluster.files import CLUSTER, ROOT, read_constraints
from tests.cluster.mlflow_host import MLflowServer

DATABASE = re.compile(r"\b(?:postgresql|mysql|mssql)(?:\+\w+)?://[^\s\"',\]`]+")
TEXT = (CLUSTER / "mlflow" / "compose.yaml").read_text()
SECRETS = {"POSTGRES_PASSWORD": "0123abcd", "MLFLOW_NAMES": "mlflow.example.org"}


def substituted(text: str, environment: Mapping[str, str]) -> str:
    """A compose file with its variables put in, as Compose does; KeyError where a required one is missing."""

    def value(match: re.Match[str]) -> str:
        name, operator, otherwise = match.groups()
        if environment.get(name):
            return environment[name]
        if operator == ":-":
            return str(otherwise)
        raise KeyError(name)

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)


def services(**environment: str) -> dict[str, Any]:
    return yaml.safe_load(substituted(TEXT, SECRETS | environment))["services"]


def test_it_is_a_compose_file() -> None:
    assert PyCompose.from_yaml(substituted(TEXT, SECRETS)).service_names() == ["postgres", "mlflow"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("healthcheck:", "healthchek:"),
        ("restart: unless-stopped", "restart: 3"),
        ("condition: service_healthy", "condition: healthy"),
        ("interval: 5s", "interval: soon"),
        ("dockerfile:", "docker_file:"),
    ],
)
def test_what_is_wrong_is_found(right: str, wrong: str) -> None:
    text = substituted(TEXT, SECRETS)
    assert right in text
    with pytest.raises(ValueError):  # noqa: PT011 - the library has no other
        PyCompose.from_yaml(text.replace(right, wrong, 1))


def test_it_holds_no_password_and_does_not_start_without() -> None:
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            substituted(TEXT, SECRETS | {name: ""})
    example = dict(
        line.split("=", 1)
        for line in (CLUSTER / "mlflow" / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert example.keys() >= SECRETS.keys()
    assert [name for name in SECRETS if example[name]] == []
    assert set(re.findall(r"\$\{(\w+)", TEXT)) == example.keys()
    environments = [service["environment"] for service in yaml.safe_load(TEXT)["services"].values()]
    passwords = [value for env in environments for name, value in env.items() if name.endswith("PASSWORD")]
    assert len(passwords) == 2
    assert all(value.startswith("${POSTGRES_PASSWORD:?") for value in passwords)


def test_nothing_is_open_unless_it_is_asked_for() -> None:
    found = services()
    assert "ports" not in found["postgres"]
    assert found["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    assert services(MLFLOW_ADDRESS="10.0.0.5")["mlflow"]["ports"] == ["10.0.0.5:5000:5000"]


def test_services_are_healthy_in_order_and_keep_their_data() -> None:
    found = services()
    assert found["mlflow"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    volumes = yaml.safe_load(substituted(TEXT, SECRETS))["volumes"]
    for service in found.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert {mount.partition(":")[0] for mount in service["volumes"]} <= volumes.keys()
        assert re.search(r":\d", service["image"])
        assert not service["image"].endswith(":latest")
    assert found["mlflow"]["image"] == f"larvae-mlflow:{read_constraints()['mlflow']}"
    assert (CLUSTER / "mlflow" / found["mlflow"]["build"]["context"] / found["mlflow"]["build"]["dockerfile"]).exists()


@pytest.mark.parametrize(
    ("words", "names"), [((), "mlflow"), (("sqlite:///x",), "mlflow"), (("sqlite:///x", "artifacts"), "")]
)
def test_the_script_says_what_it_needs(tmp_path: Path, words: tuple[str, ...], names: str) -> None:
    command = ["bash", str(CLUSTER / "mlflow" / "serve.sh"), *words]
    environment = os.environ | {"MLFLOW_NAMES": names}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: a database's URI, a folder of artifacts and MLFLOW_NAMES must be given")


@pytest.mark.parametrize("path", ["mlflow/Dockerfile", "mlflow/serve.sh", "kubernetes/mlflow.yaml", "README.md"])
def test_databases_are_written_with_a_driver_that_is_installed(path: str) -> None:
    """SQLAlchemy imports the driver that an address names, and one of its own choice where none is named."""
    addresses = DATABASE.findall((CLUSTER / path).read_text())
    assert addresses
    drivers = {create_engine(address).dialect.driver for address in addresses}
    packages = {package for driver in drivers for package in packages_distributions()[driver]}
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["server"]
    assert packages == {re.split("[<>=]", requirement)[0] for requirement in extra}
    assert packages <= read_constraints().keys()
    assert packages <= set((CLUSTER / "mlflow" / "Dockerfile").read_text().split())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    """A server that the script has started, by the name of `mlflow`."""
    folder = tmp_path_factory.mktemp("mlflow")
    started = MLflowServer(f"sqlite:///{folder / 'mlflow.db'}", folder)
    try:
        started.start()
        yield started
    finally:
        started.kill()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("mlflow:5000", 200),
        ("mlflow", 200),
        ("localhost:5000", 200),
        ("evil.example.org", 403),
        ("mlflow.evil.example.org:5000", 403),
        ("10.0.0.9:5000", 403),
    ],
)
def test_the_server_answers_to_its_names_alone(server: MLflowServer, host: str, status: int) -> None:
    address = f"{server.uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    assert requests.get(address, headers={"Host": host}, timeout=60).status_code == status
