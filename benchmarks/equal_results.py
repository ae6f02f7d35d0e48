"""Trains the same members with plain float32 steps and with fused ones: do results agree within the spread of seeds?

Plain and fused members of a seed see the same images and noise, so their difference is the arithmetic's alone.
Kill it and start it again: it goes on from its checkpoints.

    python benchmarks/equal_results.py --output benchmarks/results/equal_results.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from larvae import allocator, datasets
from larvae.config import MemberConfig, Schedule
from larvae.files import save_json
from larvae.functional import fast_precision
from larvae.hardware import processor_name
from larvae.member import train_member
from larvae.member_directory import MemberDirectory
from sweeps.tracking.provenance import git_commit

METRICS = ("mig", "l2")


def train_one(task: tuple[MemberConfig, Schedule, Path, bool]) -> dict[str, float]:
    """Metrics of a member at its end."""
    config, schedule, folder, compiled = task
    torch.set_num_threads(1)
    directory = MemberDirectory(folder / ("fused" if compiled else "plain") / config.content_hash)
    row = directory.last_evaluation(schedule.iterations)
    if row is None:
        dataset = datasets.open_dataset(config.dataset, datasets.prepare(config.dataset))
        *_, row = train_member(config, schedule, dataset, directory, compiled=compiled)
    print(
        f"{'fused' if compiled else 'plain'} {config}: { ({name: round(row[name], 4) for name in METRICS}) }",
        flush=True,
    )
    return {name: row[name] for name in METRICS}


def main() -> None:
    """Train in parallel, print a table, write what came out; exit code 1 where results differ by more than seeds do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tau", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=Path("results/equal-results"), help="for checkpoints")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    os.environ |= allocator.ENVIRONMENT  # for the processes to come
    datasets.prepare("dsprites", progress=True)
    schedule = Schedule(iterations=arguments.iterations, metrics=METRICS, final_metrics=METRICS)
    members = [MemberConfig(tau=arguments.tau, seed=seed) for seed in range(arguments.seeds)]
    tasks = [(member, schedule, arguments.folder, compiled) for member in members for compiled in (False, True)]
    with multiprocessing.get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
        rows = pool.map(train_one, tasks, chunksize=1)
    report = _report(arguments, rows[0::2], rows[1::2])
    for name in METRICS:
        print(name, json.dumps(report[name]))
    if arguments.output:
        save_json(arguments.output, report)
    raise SystemExit(not all(report[name]["within_the_spread_of_seeds"] for name in METRICS))


def _report(
    arguments: argparse.Namespace, plain: list[dict[str, float]], fused: list[dict[str, float]]
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "commit": git_commit(),
        "processor": processor_name(),
        "fused_precision": str(fast_precision(torch.device("cpu"))).removeprefix("torch."),
        "iterations": arguments.iterations,
    }
    for name in METRICS:
        ours, reference = np.array([row[name] for row in fused]), np.array([row[name] for row in plain])
        spread = float(reference.std(ddof=1))
        report[name] = {
            "plain_float32": reference.round(4).tolist(),
            "fused": ours.round(4).tolist(),
            "mean_difference": round(float((ours - reference).mean()), 4),
            "spread_of_seeds": round(spread, 4),
            "within_the_spread_of_seeds": bool(abs((ours - reference).mean()) <= spread),
        }
    return report


if __name__ == "__main__":
    main()
