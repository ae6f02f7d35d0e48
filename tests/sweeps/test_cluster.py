"""A Ray cluster that runs already: the project's code and the data set reach its workers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import larvae
from larvae.datasets import Dataset, store
from tests.sweeps.commands import SCHEDULE, assert_all_in_mlflow, read_results, script
from tests.sweeps.processes import ray_head

pytestmark = pytest.mark.slow
WHERE = """
import sys
from sweeps.driver import connection

connection.connect(sys.argv[1])
import ray

@ray.remote
def where():
    import larvae, sweeps
    return larvae.__file__, sweeps.__file__

print(*ray.get(where.remote()), sep="\\n")
"""


class Cluster(NamedTuple):
    """One node, with a cache of data sets of its own that was empty at the start."""

    address: str
    cache: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with ray_head(folder, 2, "--include-dashboard=false", LARVAE_CACHE_DIR=str(folder / "cache")) as address:
        yield Cluster(address, folder / "cache")


def test_code_travels(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WHERE, cluster.address]
    asked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    files = [Path(line) for line in asked.stdout.splitlines()]
    assert [file.parent.name for file in files] == ["larvae", "sweeps"]
    for file in files:
        assert "runtime_resources" in file.parts
        assert not file.is_relative_to(Path(larvae.__file__).parents[1])


def test_members_train_there_on_data_of_the_nodes_own(
    cluster: Cluster, dataset: Dataset, folder_with_database: Path, cache_directory: Path
) -> None:
    command = script(folder_with_database, "--taus", "0", "1", "--address", cluster.address)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    results = read_results(folder_with_database).values()
    assert [result["status"] for result in results] == ["finished", "finished"]
    assert {result["history"][-1]["iteration"] for result in results} == {SCHEDULE.iterations}
    assert_all_in_mlflow(folder_with_database)
    rendered, expected = (store.read_header(c / "dsprites-rendered-2.h5") for c in (cluster.cache, cache_directory))
    assert rendered == expected
