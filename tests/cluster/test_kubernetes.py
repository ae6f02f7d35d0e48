"""Kubernetes manifests against KubeRay's fields and Kubernetes' own schema, and what they promise."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from packaging.version import Version

from sweeps import tau_sweep
from tests.cluster.files import CLUSTER, read_constraints, read_yaml

KUBERNETES = "1.34"
KUBERAY = json.loads((Path(__file__).parent / "schemas" / "kuberay.json").read_text())
Manifest = dict[str, Any]
MANIFESTS = [
    m for path in sorted((CLUSTER / "kubernetes").glob("*.yaml")) for m in read_yaml(f"kubernetes/{path.name}")
]
RAY_CLUSTER, RAY_JOB = (read_yaml(f"kubernetes/{name}.yaml")[0] for name in ("raycluster", "rayjob"))


def cluster_spec(manifest: Manifest) -> Manifest:
    return manifest["spec"].get("rayClusterSpec", manifest["spec"])


def groups(manifest: Manifest) -> list[Manifest]:
    return [cluster_spec(manifest)["headGroupSpec"], *cluster_spec(manifest)["workerGroupSpecs"]]


def validate(manifest: Manifest) -> None:
    """Raise jsonschema.ValidationError where a field or a type is none that the API knows."""
    if manifest["apiVersion"] != "ray.io/v1":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.validate(manifest, KUBERAY)
    for group in groups(manifest):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": group["template"]}
        kubernetes_validate.validate(template, KUBERNETES, strict=True)


def find(tree: Any, key: str) -> Iterator[Any]:
    """Yield all values of a key in a tree of dictionaries and lists."""
    below = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    yield from (tree[key] for _ in (0,) if isinstance(tree, dict) and key in tree)
    for value in below:
        yield from find(value, key)


def test_manifests_are_of_the_schema_with_versions_of_images_and_without_passwords() -> None:
    assert len(MANIFESTS) > 5
    for manifest in MANIFESTS:
        validate(manifest)
        assert all(":" in image and not image.endswith(":latest") for image in find(manifest, "image"))
        variables = [variable for environment in find(manifest, "env") for variable in environment]
        assert not [v for v in variables if "value" in v and "PASSWORD" in v["name"]]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("workerGroupSpecs", 0, "groupname"), "x"),
        (("workerGroupSpecs", 0, "minReplicas"), "2"),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("authOptions", "mode"), "password"),
        (("headGroupSpec", "template", "spec", "containers", 0, "volumeMount"), []),
        (("workerGroupSpecs", 1, "template", "spec", "terminationGracePeriodSeconds"), "60"),
        (("headGroupSpec", "template"), None),
        (("backofLimit",), 3),
    ],
)
def test_what_is_wrong_is_found(path: tuple[Any, ...], value: object) -> None:
    for manifest in (RAY_CLUSTER, RAY_JOB):
        spoilt = copy.deepcopy(manifest)
        *parents, last = path
        tree = cluster_spec(spoilt) if parents else spoilt["spec"]
        for name in parents:
            tree = tree[name]
        tree[last] = value
        if value is None:
            del tree[last]
        with pytest.raises(jsonschema.ValidationError):
            validate(spoilt)


def test_every_pod_speaks_with_the_token_and_mounts_what_is_shared() -> None:
    spec = RAY_CLUSTER["spec"]
    assert RAY_JOB["spec"]["rayClusterSpec"] == spec
    assert spec["authOptions"] == {"mode": "token"}  # needs a `rayVersion` that has tokens
    assert Version(spec["rayVersion"]) == Version(read_constraints()["ray"]) >= Version("2.52")
    claims = {claim["metadata"]["name"]: claim for claim in read_yaml("kubernetes/storage.yaml")}
    images = set()
    for group in groups(RAY_CLUSTER):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        claim = claims[volumes["shared"]["persistentVolumeClaim"]["claimName"]]
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert environment["LARVAE_CACHE_DIR"] == mounts["cache"]
        assert "emptyDir" in volumes["cache"]  # each node's own
        assert mounts["shared"] == "/shared"
    assert len(images) == 1


def test_gpus_are_the_workers_and_their_kind_is_told() -> None:
    head, *workers = groups(RAY_CLUSTER)
    assert "nvidia.com/gpu" not in json.dumps(head)
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert sum(group["minReplicas"] for group in workers) >= 1
    kinds = set()
    for group in workers:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert int(limits["nvidia.com/gpu"]) == 1
        (words,) = shlex.split(group["rayStartParams"]["resources"])  # a shell reads it, then `ray start`
        ((kind, number),) = json.loads(words).items()
        assert number == 1000
        assert kind.removeprefix("gpu_") in group["template"]["spec"]["nodeSelector"]["nvidia.com/gpu.product"]
        kinds.add(kind)
    assert kinds == {"gpu_16GB", "gpu_32GB"}


def test_a_retry_goes_on() -> None:
    """A new cluster gets the same command, whose study has a name and lies on what is shared."""
    spec = RAY_JOB["spec"]
    assert spec["backoffLimit"] >= 1
    python, script, *arguments = shlex.split(spec["entrypoint"])
    assert (python, Path(script).name) == ("python", Path(tau_sweep.__file__).name)
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert options.keys() >= {"--study", "--preset"}
    assert options["--address"] == "auto"
    assert Path(options["--storage-path"]).is_relative_to("/shared")
    services = {m["metadata"]["name"]: m for m in read_yaml("kubernetes/mlflow.yaml") if m["kind"] == "Service"}
    (port,) = services["mlflow"]["spec"]["ports"]
    assert options["--tracking-uri"] == f"http://mlflow:{port['port']}"
