"""Cluster launcher files: Ray's schema and preparation accept them, and all nodes of a cluster are set up alike."""

from __future__ import annotations

import copy
import re
import shlex
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.files import CLUSTER, ROOT, read_constraints, read_yaml

Config = dict[str, Any]
FILES = sorted(path.name for path in (CLUSTER / "launcher").glob("*.yaml"))
CLOUDS = [name for name in FILES if name != "on-prem.yaml"]
GPUS = {  # of the instances that we name: CPUs, GPUs, and the resource for their kind
    "p3.2xlarge": (8, 1, "gpu_16GB"),
    "p3.16xlarge": (64, 8, "gpu_16GB"),
    "p3dn.24xlarge": (96, 8, "gpu_32GB"),
    "n1-standard-8": (8, 1, "gpu_16GB"),
}


def prepared(name: str) -> Config:
    """A launcher file as `ray up` prepares and checks it."""
    config: Config = prepare_config(read_yaml(f"launcher/{name}")[0])
    validate_config(config)
    return config


def workers(config: Config) -> dict[str, Config]:
    types = config["available_node_types"]
    return {name: kind for name, kind in types.items() if len(types) == 1 or name != config["head_node_type"]}


def test_there_is_one_for_each_kind_of_host() -> None:
    assert FILES == ["aws-v100.yaml", "gcp-v100.yaml", "on-prem.yaml"]


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_them(name: str) -> None:
    config = prepared(name)
    assert config["max_workers"] >= sum(kind["min_workers"] for kind in workers(config).values()) >= 1


@pytest.mark.parametrize("name", FILES)
def test_ray_refuses_what_is_misspelt(name: str) -> None:
    config = copy.deepcopy(read_yaml(f"launcher/{name}")[0])
    config["max_worker"] = 3
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("name", FILES)
def test_all_nodes_are_installed_alike(name: str) -> None:
    """The same commands on head and workers, apart from what lets the head start others."""
    config = read_yaml(f"launcher/{name}")[0]
    assert "worker_setup_commands" not in config
    installing = [command for command in config["setup_commands"] if "cluster/install.sh" in command]
    assert installing == ["bash ~/larvae-sweeps/cluster/install.sh"]
    assert config["file_mounts"]["~/larvae-sweeps"] == "."
    for command in config.get("head_setup_commands", []):
        assert "--constraint ~/larvae-sweeps/cluster/constraints.txt" in command
        assert command.split()[-1] in read_constraints()


@pytest.mark.parametrize("name", FILES)
def test_all_nodes_have_the_token_and_what_is_shared(name: str) -> None:
    config = read_yaml(f"launcher/{name}")[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("mountpoint -q /shared || sudo mount -t nfs" in command for command in config["setup_commands"])
    for who, script in (("head", "on-prem/head.sh"), ("worker", "on-prem/worker.sh")):
        stop, start = config[f"{who}_start_ray_commands"]
        assert stop.endswith("ray stop")
        assert "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0;" in start
        assert f"bash ~/larvae-sweeps/cluster/{script}" in start
    assert "--autoscaling-config ~/ray_bootstrap_config.yaml" in config["head_start_ray_commands"][1]
    assert config["worker_start_ray_commands"][1].endswith("worker.sh $RAY_HEAD_IP:6379")


@pytest.mark.parametrize("name", FILES)
def test_commands_are_shell_and_name_files_that_exist(name: str) -> None:
    config = read_yaml(f"launcher/{name}")[0]
    commands = [command for key, value in config.items() if key.endswith("commands") for command in value]
    for command in commands:
        assert shlex.split(command)
        for path in re.findall(r"~/larvae-sweeps/([\w./-]+)", command):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", CLOUDS)
def test_gpu_nodes_declare_what_they_have(name: str) -> None:
    config = prepared(name)
    for kind in workers(config).values():
        machine = kind["node_config"].get("InstanceType") or kind["node_config"]["machineType"]
        cpus, gpus, resource = GPUS[machine]
        assert kind["resources"] == {"CPU": cpus, "GPU": gpus, resource: 1000}
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}


def test_aws_workers_are_spot_instances_and_the_head_is_not() -> None:
    config = prepared("aws-v100.yaml")
    head = config["available_node_types"]["head"]["node_config"]
    assert "InstanceMarketOptions" not in head
    for kind in workers(config).values():
        assert kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert kind["node_config"]["ImageId"] == head["ImageId"]  # one image: one Python, one driver


def test_gcp_workers_are_spot_instances_and_the_head_is_not() -> None:
    config = prepared("gcp-v100.yaml")
    head = config["available_node_types"]["head"]["node_config"]
    assert "scheduling" not in head
    for kind in workers(config).values():
        node = kind["node_config"]
        assert node["scheduling"]["provisioningModel"] == "SPOT"
        assert node["scheduling"]["onHostMaintenance"] == "TERMINATE"  # GPUs do not migrate
        (accelerator,) = node["guestAccelerators"]
        assert accelerator == {"acceleratorType": "nvidia-tesla-v100", "acceleratorCount": kind["resources"]["GPU"]}
        assert node["disks"] == head["disks"]


def test_no_file_has_an_account_or_a_secret() -> None:
    for name in FILES:
        text = (CLUSTER / "launcher" / name).read_text()
        assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|BEGIN [A-Z ]*PRIVATE KEY", text)
        assert set(re.findall(r"\b(?:ami|fs)-([0-9a-f]+)", text)) <= {"0" * 17}
