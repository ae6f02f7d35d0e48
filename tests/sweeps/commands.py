"""The sweep as a command, and what it leaves behind: runs in MLflow and members on disk."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mlflow import MlflowClient
from torch import Tensor

from larvae.checkpoint import load_checkpoint
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.member import train_member
from larvae.member_directory import MemberDirectory, Row
from sweeps import tau_sweep

STUDY = "tiny"
TINY = tuple(f"--preset quick --seeds 1 --study {STUDY} --batch-size 4 --evaluation-size 200 --no-compile".split())
SCHEDULE = Schedule(iterations=20, log_every=5, evaluate_every=10, evaluation_size=200, final_metrics=("mig", "l2"))
TIMES = {"seconds", "seconds_per_iteration", "timestamp"}
"""They differ between equal runs."""


def schedule_flags(schedule: Schedule) -> list[str]:
    """The schedule as the command line spells it."""
    names = ("iterations", "log_every", "evaluate_every", "evaluation_size")
    numbers = [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(schedule, name)))]
    return [*numbers, "--metrics", *schedule.metrics, "--final-metrics", *schedule.final_metrics]


def sweep(folder: Path, *flags: str, schedule: Schedule = SCHEDULE) -> int:
    """Run the sweep in this process, whose handlers of signals stay as they are; the exit code."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return tau_sweep.run([*TINY, *schedule_flags(schedule), *places(folder), *flags])
    finally:
        signal.signal(signal.SIGTERM, handler)


def script(folder: Path, *flags: str, schedule: Schedule = SCHEDULE) -> list[str]:
    """The same as a command."""
    return [sys.executable, tau_sweep.__file__, *TINY, *schedule_flags(schedule), *places(folder), *flags]


def places(folder: Path) -> list[str]:
    """Everything in one folder, spelt whole: MLflow keeps one connection for each spelling."""
    return ["--tracking-uri", tracking_uri(folder), "--storage-path", str(folder / "results")]


def tracking_uri(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


class Run(NamedTuple):
    """A run as MLflow holds it."""

    status: str
    tags: dict[str, str]
    metrics: dict[str, list[tuple[int, float]]]
    """Points (step, value) by metric, in the order of their steps, repeated ones included."""


def read_runs(folder: Path) -> dict[str, Run]:
    """The study's runs, members' by the labels that the study gives them; two of one name are an error."""
    record = json.loads((folder / "results" / STUDY / "study.json").read_text())
    labels = {name: member["label"] for name, member in record["members"].items()}
    names: set[str] = set()
    client = MlflowClient(tracking_uri(folder))
    experiment = client.get_experiment_by_name(STUDY)
    assert experiment is not None
    runs: dict[str, Run] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        assert run.info.run_name not in names, f"two runs are called {run.info.run_name}"
        names.add(run.info.run_name)
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        points = {name: sorted((point.step, point.value) for point in history) for name, history in histories.items()}
        label = labels.get(run.data.tags.get("larvae.member", ""), run.info.run_name)
        runs[label] = Run(run.info.status, run.data.tags, points)
    return runs


def statuses(folder: Path) -> dict[str, str]:
    """Status in MLflow by name of run."""
    return {name: run.status for name, run in read_runs(folder).items()}


def count_points(folder: Path) -> int:
    """Metric points in a database that another process writes, or has not made yet: read without touching it."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True)) as database,
    ):
        return int(database.execute("SELECT count(*) FROM metrics").fetchone()[0])
    return 0


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """The results of ended members on disk, by the label that the study gives them."""
    study = folder / "results" / STUDY
    results = {}
    for name, member in json.loads((study / "study.json").read_text())["members"].items():
        result = MemberDirectory(study / "members" / name).read_result()
        if result is not None:
            assert result["config"] == member["config"]
            results[member["label"]] = result
    return results


def without_times(history: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in history]


def assert_all_in_mlflow(folder: Path) -> None:
    """Every finished member's run holds its rows, each point once, and nothing else."""
    runs = read_runs(folder)
    results = read_results(folder)
    assert runs.keys() == {STUDY, *results}
    for label, result in results.items():
        points: dict[str, list[tuple[int, float]]] = {}
        for row in result["history"]:
            for name in row.keys() - {"iteration", "seconds", "timestamp"}:
                points.setdefault(name, []).append((int(row["iteration"]), row[name]))
        if label in runs:
            seconds = [runs[label].metrics.pop("seconds_per_iteration"), points.pop("seconds_per_iteration")]
            assert [step for step, _ in seconds[0]] == [step for step, _ in seconds[1]]
            assert runs[label].metrics == points


def assert_as_if_uninterrupted(folder: Path, schedule: Schedule, dataset: Dataset, alone: Path) -> None:
    """All members have the rows and, bit for bit, the state of ones trained in this process in one go.

    alone: a folder that keeps the latter.
    """
    results = read_results(folder)
    assert results
    for result in results.values():
        assert result["status"] == "finished"
        config = MemberConfig(**result["config"])
        swept = MemberDirectory(folder / "results" / STUDY / "members" / config.content_hash)
        uninterrupted = MemberDirectory(alone / f"{config.content_hash}-{schedule.iterations}")
        rows = list(train_member(config, schedule, dataset, uninterrupted))
        assert without_times(result["history"]) == without_times(rows)
        ours, expected = tensors_of(swept), tensors_of(uninterrupted)
        assert ours.keys() == expected.keys()
        assert len(ours) > 3 * 20  # parameters and two moments of each
        assert [name for name in ours if not torch.equal(ours[name], expected[name])] == []


def assert_nothing_lost(folder: Path, schedule: Schedule, dataset: Dataset, alone: Path) -> None:
    """All members have finished as if uninterrupted, and MLflow has them."""
    assert set(statuses(folder).values()) == {"FINISHED"}
    assert_all_in_mlflow(folder)
    assert_as_if_uninterrupted(folder, schedule, dataset, alone)


def tensors_of(member: MemberDirectory) -> dict[str, Tensor]:
    """Parameters and Adam's state at the last checkpoint, by name."""
    trainer = load_checkpoint(member.checkpoint)["trainer"]
    moments = trainer["optimisers"]["model"]["state"].items()
    return trainer["model"] | {f"{name}/{key}": value for name, state in moments for key, value in state.items()}


def without_phases(printed: str) -> str:
    """What a command has printed but for the phases of its first minute."""
    return re.sub(
        r"^\[\d\d:\d\d:\d\d\] (loading|opening|starting|joining|making) .*\n", "", printed, flags=re.MULTILINE
    )
