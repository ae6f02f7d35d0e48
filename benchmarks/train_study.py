"""Trains the unfinished members of a study's folder without Ray or MLflow: groups of them, in processes on one GPU.

For a host that has PyTorch and a GPU but no cluster around it: it needs larvae alone, and of its packages
h5py, filelock, pillow, platformdirs, pooch, requests, rich, scikit-learn. Copy `results/STUDY` there, run this,
copy it back, and type the sweep's command again: it finds the members finished and logs them to MLflow.
At --seconds every member is saved where it stands, at its next row, and the same command goes on from there.

    python benchmarks/train_study.py results/STUDY --processes 4 --summary figures.json --commit $(git rev-parse HEAD)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from larvae import datasets
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.errors import one_line
from larvae.files import locked, save_json
from larvae.hardware import device_name
from larvae.member import Member
from larvae.member_directory import MemberDirectory
from larvae.out_of_memory import is_no_members_own
from larvae.together.group import Likeness, likeness
from larvae.together.training_together import train_together


class Task(NamedTuple):
    """Members that a process trains together."""

    folder: Path
    members: tuple[MemberConfig, ...]
    schedule: Schedule
    device: str
    compiled: bool
    deadline: float
    """Seconds since the epoch."""


def groups(members: Iterable[MemberConfig], size: int) -> list[tuple[MemberConfig, ...]]:
    """Members that are alike, in groups of a size at most and about as large as each other, seed by seed.

    Each size is compiled anew, and members of one seed share what is drawn.
    """
    alike: dict[Likeness, list[MemberConfig]] = {}
    for member in sorted(members, key=lambda member: member.seed):
        alike.setdefault(likeness(member), []).append(member)
    parts = []
    for kind in alike.values():
        length = -(-len(kind) // -(-len(kind) // size))
        parts += [tuple(kind[start : start + length]) for start in range(0, len(kind), length)]
    return sorted(parts, key=len, reverse=True)  # what takes longest begins first


def train_group(task: Task) -> dict[str, Any]:
    """Train members to their ends or to the deadline; what came of it. Iterations are those of this run."""
    torch.set_num_threads(1)
    report: dict[str, Any] = {"members": len(task.members), "failed": {}, "resumed_from": 0, "reached": 0}
    clock = _Clock()
    if time.time() < task.deadline:
        members = _opened(task, report["failed"])
        report["resumed_from"] = sum(member.trainer.iteration for member in members)
        try:
            _train(members, task, report["failed"], clock)
        except Exception as error:  # of the step that they share: what they have saved before stands
            report["failed"] |= {member.name: one_line(error) for member in members if not member.is_trained}
        report["reached"] = sum(member.trainer.iteration for member in members)
        report["finished"] = sum(member.is_trained for member in members)
    report |= {"seconds": clock.seconds, "steady_iterations": clock.iterations, "steady_seconds": clock.steady_seconds}
    report["gpu_bytes"] = torch.cuda.max_memory_reserved() if task.device == "cuda" else 0
    return report


class _Clock:
    """Counts iterations from the first row on, when all is compiled."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._first: tuple[float, int] | None = None
        self.iterations = 0

    def tick(self, iterations: int) -> None:
        self._last = time.perf_counter()
        if self._first is None:
            self._first = (self._last, iterations)
        self.iterations = iterations - self._first[1]

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @property
    def steady_seconds(self) -> float:
        return self._last - self._first[0] if self._first else 0.0


def _opened(task: Task, failed: dict[str, str]) -> list[Member]:
    """The members at their checkpoints."""
    members = []
    opened: dict[str, Dataset] = {}
    for config in task.members:
        if config.dataset not in opened:
            opened[config.dataset] = datasets.open_dataset(config.dataset, datasets.prepare(config.dataset))
        directory = MemberDirectory(task.folder / "members" / config.content_hash)
        try:
            member = Member(
                config, task.schedule, opened[config.dataset], directory, device=task.device, compiled=task.compiled
            )
            members.append(member)
        except Exception as error:  # this member's alone: the others go on
            if is_no_members_own(error):
                raise
            failed[config.content_hash] = directory.write_failure(config, error)
    return members


def _train(members: Sequence[Member], task: Task, failed: dict[str, str], clock: _Clock) -> None:
    """Train members together, and save at the deadline those that have not ended."""
    start = sum(member.trainer.iteration for member in members)
    with contextlib.closing(train_together(members, fused=task.device == "cuda" or len(members) > 1)) as reports:
        for report in reports:
            if report.status == "failed":
                failed[report.name] = report.reason
            if (reached := sum(member.trainer.iteration for member in members)) > start:
                clock.tick(reached)
            if time.time() > task.deadline:
                break
    for member in members:
        if not member.is_trained and member.name not in failed:
            member.save()


def main() -> None:
    """Train in parallel and write what was measured; exit code 1 where members have failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="results/STUDY, with its study.json")
    parser.add_argument(
        "--processes", type=int, help="groups that train at once; left out: 4 on a GPU, else a CPU each"
    )
    parser.add_argument("--group-size", type=int, help="members of one at most; left out: 32 on a GPU, else 1")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="left out: cuda where PyTorch finds a GPU")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop about then; run again to go on")
    parser.add_argument("--compile", action="store_true", help="fuse steps with torch.compile")
    parser.add_argument("--summary", type=Path, help="JSON file for speed and hardware")
    parser.add_argument("--commit", default="unknown", help="commit to write into the summary")
    arguments = parser.parse_args()
    if not (arguments.folder / "study.json").is_file():
        parser.error(f"`folder` must be a study's, with its study.json, got `{arguments.folder}`")
    deadline = time.time() + arguments.seconds
    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = arguments.device == "cuda"
    arguments.processes = arguments.processes or (4 if on_gpu else os.cpu_count())
    record = json.loads((arguments.folder / "study.json").read_text())
    for name, fingerprint in record["fingerprints"].items():  # once, before all processes want it
        if datasets.open_dataset(name, datasets.prepare(name)).fingerprint != fingerprint:
            parser.error(f"{name} must have the study's images, {fingerprint}, but this host has others")
    schedule = _schedule(record["schedule"])
    members = _unfinished(arguments.folder, record, schedule)
    tasks = [
        Task(arguments.folder, group, schedule, arguments.device, arguments.compile, deadline)
        for group in groups(members, arguments.group_size or (32 if on_gpu else 1))
    ]
    started = time.perf_counter()
    reports = _reports(tasks, arguments)
    summary = _summary(reports, arguments, time.perf_counter() - started)
    print(json.dumps(summary))
    if arguments.summary:
        save_json(arguments.summary, summary)
    sys.exit(summary["failed"] > 0)


def _reports(tasks: Sequence[Task], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The reports of all groups, printed as they come."""
    pools = multiprocessing.get_context("spawn")
    with locked(arguments.folder / ".lock", waits=False), pools.Pool(arguments.processes) as pool:
        reports = []
        for report in pool.imap_unordered(train_group, tasks):
            reports.append(report)
            print(f"{len(reports)} of {len(tasks)}: {report}", flush=True)
    return reports


def _unfinished(folder: Path, record: dict[str, Any], schedule: Schedule) -> list[MemberConfig]:
    members = (MemberConfig.from_dict(member["config"]) for member in record["members"].values())
    ended = schedule.iterations
    return [m for m in members if not MemberDirectory(folder / "members" / m.content_hash).last_evaluation(ended)]


def _schedule(fields: dict[str, Any]) -> Schedule:
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return Schedule(**known)


def _summary(reports: list[dict[str, Any]], arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    def total(name: str) -> Any:
        return sum(report.get(name, 0) for report in reports)

    iterations = total("reached") - total("resumed_from")
    at_once = min(arguments.processes, len(reports))
    steady = at_once * total("steady_iterations") / total("steady_seconds") if total("steady_seconds") else 0.0
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": arguments.commit,
        "device": device_name(arguments.device),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "members": total("members"),
        "finished": total("finished"),
        "failed": sum(len(report["failed"]) for report in reports),
        "processes": at_once,
        "seconds": round(seconds, 1),
        "resumed_from": total("resumed_from"),
        "reached": total("reached"),
        "model_iterations": iterations,
        "model_iterations_per_second": round(iterations / seconds, 1),
        "steady_model_iterations_per_second": round(steady, 1),
        "gpu_gigabytes_per_process": round(max((r["gpu_bytes"] for r in reports), default=0) / 1e9, 2),
    }


if __name__ == "__main__":
    main()
