"""Trains the unfinished members of a study's folder without Ray or MLflow, many processes on one GPU or CPU.

For a host that has PyTorch and a GPU but no cluster around it: it needs larvae alone, and of its packages
h5py, filelock, pillow, platformdirs, pooch, requests, rich, scikit-learn. Copy `results/STUDY` there, run this,
copy it back, and type the sweep's command again: it finds the members finished and logs them to MLflow.

    python benchmarks/train_study.py results/STUDY --processes 12 --summary figures.json --commit $(git rev-parse HEAD)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from larvae import datasets
from larvae.config import MemberConfig, Schedule
from larvae.files import locked
from larvae.hardware import device_name
from larvae.member import train_member
from larvae.member_directory import MemberDirectory, Row


def train_one(task: tuple[Path, dict[str, Any], dict[str, Any], str, bool, float]) -> dict[str, Any]:
    """Train one member, to its end or to a deadline (seconds since the epoch); what came of it."""
    folder, fields, schedule_fields, device, compiled, deadline = task
    torch.set_num_threads(1)
    member, schedule = MemberConfig.from_dict(fields), _schedule(schedule_fields)
    directory = MemberDirectory(folder / "members" / member.content_hash)
    report: dict[str, Any] = {"member": member.content_hash, "iterations": 0, "seconds": 0.0}
    if directory.last_evaluation(schedule.iterations) or time.time() > deadline:
        return report
    dataset = datasets.open_dataset(member.dataset, datasets.prepare(member.dataset))
    started = time.perf_counter()
    history: list[Row] = []
    try:
        for row in train_member(member, schedule, dataset, directory, device=device, compiled=compiled):
            history.append(row)
            if time.time() > deadline:
                break
    except Exception as error:  # this member's alone: the others go on
        report["failed"] = directory.write_failure(member, error, history)
    report["iterations"] = history[-1]["iteration"] if history else 0
    memory = torch.cuda.max_memory_reserved() if device == "cuda" else 0
    return report | {"seconds": time.perf_counter() - started, "gpu_bytes": memory}


def main() -> None:
    """Train in parallel and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="results/STUDY, with its study.json")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="members that train at once")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop about then; run again to go on")
    parser.add_argument("--compile", action="store_true", help="fuse steps with torch.compile")
    parser.add_argument("--summary", type=Path, help="JSON file for speed and hardware")
    parser.add_argument("--commit", default="unknown", help="commit to write into the summary")
    arguments = parser.parse_args()

    if not (arguments.folder / "study.json").is_file():
        parser.error(f"`folder` must be a study's, with its study.json, got `{arguments.folder}`")
    record = json.loads((arguments.folder / "study.json").read_text())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, fingerprint in record["fingerprints"].items():  # once, before all processes want it
        if datasets.open_dataset(name, datasets.prepare(name)).fingerprint != fingerprint:
            parser.error(f"{name} must have the study's images, {fingerprint}, but this host has others")
    deadline = time.time() + arguments.seconds
    tasks = [
        (arguments.folder, member["config"], record["schedule"], device, arguments.compile, deadline)
        for member in record["members"].values()
    ]
    started = time.perf_counter()
    pools = multiprocessing.get_context("spawn")
    with locked(arguments.folder / ".lock", waits=False), pools.Pool(arguments.processes) as pool:
        reports = []
        for report in pool.imap_unordered(train_one, tasks):
            reports.append(report)
            print(f"{len(reports)} of {len(tasks)}: {report}", flush=True)
    summary = _summary(reports, arguments, device, time.perf_counter() - started)
    print(json.dumps(summary))
    if arguments.summary:
        arguments.summary.write_text(json.dumps(summary, indent=1) + "\n")


def _schedule(fields: dict[str, Any]) -> Schedule:
    return Schedule(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def _summary(
    reports: list[dict[str, Any]], arguments: argparse.Namespace, device: str, seconds: float
) -> dict[str, Any]:
    iterations = sum(report["iterations"] for report in reports)
    hardware = device_name(device)
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": arguments.commit,
        "device": hardware,
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "members": len(reports),
        "processes": arguments.processes,
        "seconds": round(seconds, 1),
        "model_iterations": iterations,
        "model_iterations_per_second": round(iterations / seconds, 1),
        "seconds_per_member": round(sum(report["seconds"] for report in reports) / len(reports), 1),
        "gpu_gigabytes_per_process": round(max(report.get("gpu_bytes", 0) for report in reports) / 1e9, 2),
    }


if __name__ == "__main__":
    main()
