"""CONTRIBUTING: each example of an addition, carried out as it is written there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from larvae.datasets import Dataset
from tests.commands import ROOT

EXAMPLE = re.compile(
    r"^```(?:python|sh) (?P<file>\S+)(?: (?P<registry>\w+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
USED = """
import json, sys
from pathlib import Path
import numpy as np
from larvae import datasets
from larvae.config import MemberConfig, Schedule
from larvae.evaluation import evaluate
from larvae.training import Trainer
from sweeps import alpha_sweep, options, runner, tau_sweep
from sweeps.adaptive.sampling import Sampler
from sweeps.adaptive.space import parse_space
from sweeps.analysis.load import LOGGED_METRICS

def chosen(*words):
    return options.parse(["--preset", "quick", *words], tau_sweep.PRESETS, None, "")

told = {}
model = chosen("--regulariser", "sparse_vae", "--margin", "0.2").model
trainer_of = lambda name, **fields: Trainer(
    MemberConfig.from_dict({"dataset": name, "batch_size": 4, "label_rate": 0.1} | fields),
    datasets.open_dataset(name, datasets.prepare(name)),
)
row = trainer_of("stripes", regulariser="sparse_vae", margin=0.2).train(1)
told["regulariser"] = [model["margin"], model["gamma_tc"], row]
trainer = trainer_of("stripes")
trainer.train(1)
told["metric"] = [evaluate(trainer, 40, ["liveliness"]), "liveliness" in LOGGED_METRICS,
                  chosen("--final-metrics", "l2", "liveliness").schedule.final_metrics]
images = trainer.dataset.images(np.arange(64))[:, 0, 0].sum(axis=1)
label = trainer.dataset.specification.label
told["data set"] = [chosen("--dataset", "stripes").model["dataset"], label, images.tolist()]

def run_study(study, given):
    told["sweep"] = [study.name, sorted({member.alpha for member in study.members})]
    return 0

runner.run_study = run_study
alpha_sweep.run(["--preset", "quick"])
sampler = Sampler(kind="nsgaii", space=parse_space(["tau=0.1:10"]), objectives=("mig",), seed=0)
told["sampler"] = [sampler.suggest(0, []).point["tau"], sampler.suggest(0, []).point["tau"]]
Path(sys.argv[1]).write_text(json.dumps(told))
"""
"""Uses all additions, and writes what came of them."""
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
"""


def examples() -> dict[str, list[tuple[str, str | None, str]]]:
    """The examples by what is added: files, registries where a record is added to one, and texts."""
    sections = re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    found = {}
    for section in sections:
        if added := re.match(r"Add an? (.*)\n", section):
            found[added[1]] = [(m["file"], m["registry"], m["text"]) for m in EXAMPLE.finditer(section)]
    return found


def add_record(path: Path, registry: str, record: str) -> None:
    """Put a record behind the last one of a registry, a dict, and import the module that it names."""
    text = path.read_text()
    [assigned] = re.finditer(rf"^{registry}\b.*? = {{\n.*?^}}$", text, re.MULTILINE | re.DOTALL)
    closing = "    )\n}" if assigned[0].endswith("    )\n}") else "}"
    text = text.replace(assigned[0], f"{assigned[0].removesuffix(closing)}{record.strip()},\n{closing}")
    if module := re.search(r"(\w+)\.SPECIFICATION", record):
        text = text.replace("import celeba, ", f"import {module[1]}, celeba, ")
    path.write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all additions."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("larvae", "sweeps", "cluster"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, registry, text in (example for several in examples().values() for example in several):
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        if registry is None:
            assert not path.exists(), "an addition is a new file"
            path.write_text(text)
        else:
            add_record(path, registry, text)
    return folder


@pytest.fixture(scope="module")
def told(project: Path, dataset: Dataset) -> dict[str, Any]:
    """Results of a process that uses the additions."""
    answer = project / "told.json"
    environment = os.environ | {"PYTHONPATH": str(project)}
    asked = subprocess.run(
        [sys.executable, "-c", USED, str(answer)],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    return json.loads(answer.read_text())


def test_each_addition_is_one_file_and_one_record_at_most() -> None:
    found = {
        added: ([file for file, registry, _ in several if not registry], [r for _, r, _ in several if r])
        for added, several in examples().items()
    }
    assert {added: (len(files), registries) for added, (files, registries) in found.items()} == {
        "regulariser": (1, ["REGULARISERS"]),
        "metric": (1, ["METRICS"]),
        "data set": (1, ["SOURCES"]),
        "sweep": (1, []),
        "sampler": (0, ["SAMPLERS"]),
        "cluster": (1, []),
    }


def test_the_regulariser_trains_with_its_setting(told: dict[str, Any]) -> None:
    margin, weight, row = told["regulariser"]
    assert (margin, weight) == (0.2, 1.0)
    others = row["reconstruction"] + row["kl"] + row["label_loss"] + row["label_replacement_loss"]
    assert row["loss"] == pytest.approx(others + row["sparsity"], rel=1e-5)


def test_the_metric_is_computed_chosen_and_loaded(told: dict[str, Any]) -> None:
    values, is_loaded, chosen = told["metric"]
    assert values.keys() == {"liveliness"}
    assert 0 <= values["liveliness"] <= 1
    assert (is_loaded, chosen) == (True, ["l2", "liveliness"])


def test_the_data_set_is_rendered_and_trained_on(told: dict[str, Any]) -> None:
    assert told["data set"] == ["stripes", "Stripes", [4 * (width + 1) for _ in range(16) for width in range(4)]]


def test_the_sweep_has_presets(told: dict[str, Any]) -> None:
    assert told["sweep"] == ["alpha-sweep-quick", [1.0, 64.0]]


def test_the_sampler_suggests(told: dict[str, Any]) -> None:
    first, again = told["sampler"]
    assert 0.1 <= first <= 10
    assert first == again


def test_the_cluster_starts_a_head_and_its_workers(project: Path, tmp_path: Path) -> None:
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("ray", "pbsdsh", "python"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "hosts").write_text(f"{host}\nother\nother\n")
    subprocess.run(
        ["bash", str(project / "cluster/pbs/sweep.sh"), "--preset", "paper"],
        env={
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "CALLS": str(calls),
            "LARVAE_ENV": str(tmp_path),
            "PBS_NODEFILE": str(tmp_path / "hosts"),
        },
        capture_output=True,
        timeout=60,
        check=True,
    )
    token, head, worker, sweep = calls.read_text().splitlines()
    assert "ray_token.py" in token
    assert head.startswith("ray start --head")
    assert re.fullmatch(rf"pbsdsh -h other -- bash \S+/worker.sh {re.escape(host)}:6379", worker)
    assert sweep.endswith("sweeps/tau_sweep.py --address auto --preset paper")
