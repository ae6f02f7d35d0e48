"""Kubernetes manifests against KubeRay's fields and Kubernetes' own schema, and what they promise."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable, Iterator
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


def cluster_spec(manifest: Manifest) -> Manifest:
    return manifest["spec"].get("rayClusterSpec", manifest["spec"])


def groups(manifest: Manifest) -> Iterator[Manifest]:
    yield cluster_spec(manifest)["headGroupSpec"]
    yield from cluster_spec(manifest)["workerGroupSpecs"]


def validate(manifest: Manifest) -> None:
    """Raise jsonschema.ValidationError where a field or a type is none that the API knows."""
    if manifest["apiVersion"] != "ray.io/v1":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.validate(manifest, KUBERAY)
    for group in groups(manifest):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": group["template"]}
        kubernetes_validate.validate(template, KUBERNETES, strict=True)


MANIFESTS = [
    pytest.param(manifest, id=f"{path.stem}-{manifest['kind']}-{manifest['metadata']['name']}")
    for path in sorted((CLUSTER / "kubernetes").glob("*.yaml"))
    for manifest in read_yaml(f"kubernetes/{path.name}")
]
RAY_CLUSTER = read_yaml("kubernetes/raycluster.yaml")[0]
RAY_JOB = read_yaml("kubernetes/rayjob.yaml")[0]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_manifests_are_of_the_schema(manifest: Manifest) -> None:
    validate(manifest)


def misspelt_group(manifest: Manifest) -> None:
    cluster_spec(manifest)["workerGroupSpecs"][0]["groupname"] = "x"


def text_for_a_number(manifest: Manifest) -> None:
    cluster_spec(manifest)["workerGroupSpecs"][0]["minReplicas"] = "2"


def number_for_a_text(manifest: Manifest) -> None:
    cluster_spec(manifest)["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def unknown_mode(manifest: Manifest) -> None:
    cluster_spec(manifest)["authOptions"]["mode"] = "password"


def misspelt_in_a_pod(manifest: Manifest) -> None:
    cluster_spec(manifest)["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []


def text_in_a_pod(manifest: Manifest) -> None:
    cluster_spec(manifest)["workerGroupSpecs"][1]["template"]["spec"]["terminationGracePeriodSeconds"] = "60"


def nothing_to_run(manifest: Manifest) -> None:
    del cluster_spec(manifest)["headGroupSpec"]["template"]


def misspelt_at_the_top(manifest: Manifest) -> None:
    manifest["spec"]["backofLimit"] = 3


@pytest.mark.parametrize("manifest", [RAY_CLUSTER, RAY_JOB], ids=["RayCluster", "RayJob"])
@pytest.mark.parametrize(
    "spoil",
    [
        misspelt_group,
        text_for_a_number,
        number_for_a_text,
        unknown_mode,
        misspelt_in_a_pod,
        text_in_a_pod,
        nothing_to_run,
        misspelt_at_the_top,
    ],
)
def test_what_is_wrong_is_found(manifest: Manifest, spoil: Callable[[Manifest], None]) -> None:
    spoilt = copy.deepcopy(manifest)
    spoil(spoilt)
    with pytest.raises(jsonschema.ValidationError):
        validate(spoilt)


def test_the_job_runs_on_the_same_cluster() -> None:
    assert RAY_JOB["spec"]["rayClusterSpec"] == RAY_CLUSTER["spec"]


def test_every_pod_speaks_with_the_token_and_mounts_what_is_shared() -> None:
    spec = RAY_CLUSTER["spec"]
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


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_images_have_versions_and_no_text_has_a_password(manifest: Manifest) -> None:
    for image in find(manifest, "image"):
        assert ":" in image
        assert not image.endswith(":latest")
    for variable in find(manifest, "env"):
        for entry in variable:
            assert "value" not in entry or "PASSWORD" not in entry["name"]


def find(tree: Any, key: str) -> Iterator[Any]:
    """All values of a key in a tree of dictionaries and lists."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from find(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from find(value, key)
