"""Cluster launcher files: Ray's schema and preparation accept them, and all nodes of a cluster are set up alike."""

from __future__ import annotations

import re
import shlex
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private import commands
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.files import CLUSTER, ROOT, read_constraints, read_yaml

Config = dict[str, Any]
FILES = ("aws-v100.yaml", "gcp-v100.yaml", "on-prem.yaml")
GPUS = {  # of the instances that we name: CPUs, GPUs, and the resource for their kind
    "p3.2xlarge": (8, 1, "gpu_16GB"),
    "p3.16xlarge": (64, 8, "gpu_16GB"),
    "p3dn.24xlarge": (96, 8, "gpu_32GB"),
    "n1-standard-8": (8, 1, "gpu_16GB"),
}


def prepared(name: str, **changed: object) -> Config:
    """A launcher file as `ray up` prepares and checks it."""
    config: Config = prepare_config(read_yaml(f"launcher/{name}")[0] | changed)
    validate_config(config)
    return config


def workers(config: Config) -> list[Config]:
    types = config["available_node_types"]
    return [kind for name, kind in types.items() if len(types) == 1 or name != config["head_node_type"]]


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_them_and_they_hold_no_account_or_secret(name: str) -> None:
    config = prepared(name)
    assert config["max_workers"] >= sum(kind["min_workers"] for kind in workers(config)) >= 1
    with pytest.raises(jsonschema.ValidationError):
        prepared(name, max_worker=3)
    text = (CLUSTER / "launcher" / name).read_text()
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|BEGIN [A-Z ]*PRIVATE KEY", text)
    assert set(re.findall(r"\b(?:ami|fs)-([0-9a-f]+)", text)) <= {"0" * 17}
    assert {path.name for path in (CLUSTER / "launcher").glob("*.yaml")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_ray_up_warns_of_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the words of the commands alone, and would say that no worker will come."""
    warned: list[str] = []
    monkeypatch.setattr(commands.cli_logger, "warning", lambda text, *_, **__: warned.append(text))
    commands.warn_about_bad_start_command(prepared(name)["head_start_ray_commands"])
    assert warned == []


@pytest.mark.parametrize("name", FILES)
def test_all_nodes_are_installed_alike_with_the_token_and_what_is_shared(name: str) -> None:
    """The same commands on head and workers, apart from what lets the head start others."""
    config = read_yaml(f"launcher/{name}")[0]
    assert "worker_setup_commands" not in config
    installing = [command for command in config["setup_commands"] if "cluster/install.sh" in command]
    assert installing == ["bash ~/larvae-sweeps/cluster/install.sh"]
    assert config["file_mounts"]["~/larvae-sweeps"] == "."
    assert all(pattern.startswith("/") for pattern in config["rsync_exclude"])  # else of any depth: also of packages
    assert config["rsync_filter"] == [".gitignore"]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("mountpoint -q /shared || sudo mount -t nfs" in command for command in config["setup_commands"])
    for command in config.get("head_setup_commands", []):
        assert "--constraint ~/larvae-sweeps/cluster/constraints.txt" in command
        assert command.split()[-1] in read_constraints()
    for who in ("head", "worker"):
        stop, start = config[f"{who}_start_ray_commands"]
        assert stop.endswith("ray stop")
        assert "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0;" in start
        assert f"bash ~/larvae-sweeps/cluster/on-prem/{who}.sh" in start
    assert "--autoscaling-config ~/ray_bootstrap_config.yaml" in config["head_start_ray_commands"][1]
    assert config["worker_start_ray_commands"][1].endswith("worker.sh $RAY_HEAD_IP:6379")
    for command in [command for key, value in config.items() if key.endswith("commands") for command in value]:
        assert shlex.split(command)
        paths = re.findall(r"~/larvae-sweeps/([\w./-]+)", command)
        assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", FILES[:2])
def test_workers_of_clouds_are_spot_instances_that_declare_what_they_have_and_the_head_is_not(name: str) -> None:
    config = prepared(name)
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert not {"InstanceMarketOptions", "scheduling"} & head["node_config"].keys()
    for kind in workers(config):
        node = kind["node_config"]
        cpus, gpus, resource = GPUS[node.get("InstanceType") or node["machineType"]]
        assert kind["resources"] == {"CPU": cpus, "GPU": gpus, resource: 1000}
        if name.startswith("aws"):
            assert node["InstanceMarketOptions"] == {"MarketType": "spot"}
            assert node["ImageId"] == head["node_config"]["ImageId"]  # one image: one Python, one driver
        else:
            assert node["scheduling"]["provisioningModel"] == "SPOT"
            assert node["scheduling"]["onHostMaintenance"] == "TERMINATE"  # GPUs do not migrate
            assert node["scheduling"]["instanceTerminationAction"] == "DELETE"  # else `ray down` leaves its disk
            assert node["guestAccelerators"] == [{"acceleratorType": "nvidia-tesla-v100", "acceleratorCount": gpus}]
            assert node["disks"] == head["node_config"]["disks"]
