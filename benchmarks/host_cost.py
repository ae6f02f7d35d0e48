"""Measures what a group's step costs the host's main thread, the arithmetic left out, and how fast inputs are made.

On a GPU a step is one copy and one graph: what the main thread does beside that bounds the rate, whatever the GPU
does. A CPU stands in for the GPU here: the copy is made, and nothing is launched.

    python benchmarks/host_cost.py --output benchmarks/results/host_cost.json
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from larvae import datasets
from larvae.config import MemberConfig
from larvae.files import save_json
from larvae.hardware import processor_name
from larvae.inputs import Sampler
from larvae.together.feed import Feed
from larvae.together.group import Group
from larvae.training import Trainer
from sweeps.tracking.provenance import git_commit

CPU = torch.device("cpu")


def microseconds(step: Callable[[], Any], count: int, *, process: bool) -> float:
    """Mean time of a step, best of five rounds. process: of all threads of the process, else of this one."""
    clock = time.process_time if process else time.thread_time
    rounds = []
    for _ in range(5):
        started = clock()
        for _ in range(count):
            step()
        rounds.append((clock() - started) / count)
    return 1e6 * min(rounds)


def main_thread(members: int, count: int) -> float:
    """Microseconds of the main thread a model-iteration, inputs being made by another thread."""
    dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites"))
    trainers = [Trainer(MemberConfig(seed=seed), dataset) for seed in range(members)]
    for trainer in trainers:
        trainer.sampler._send = by_index
    group = Group(trainers, ahead=8)
    group._run = dict  # computes nothing
    try:
        return microseconds(group.step, count, process=False) / members
    finally:
        group.close()


def by_index(indices: NDArray[np.integer]) -> NDArray[np.integer]:
    """Send images as their indices, as to a GPU that holds them."""
    return indices


def inputs(members: int, seeds: int, count: int) -> float:
    """Microseconds of one core a model-iteration that making inputs takes."""
    dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites"))
    taus = itertools.count(1)
    configs = [MemberConfig(seed=member % seeds, tau=float(next(taus))) for member in range(members)]
    samplers = [Sampler(config, dataset, by_index) for config in configs]
    feed = Feed(samplers, [0] * members, CPU, ahead=0)
    return microseconds(feed.advance, count, process=True) / members


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=300, help="of each of five rounds, of which the best counts")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    members, count = arguments.members, arguments.iterations
    row = {
        "members": members,
        "main_thread_microseconds": round(main_thread(members, count), 1),
        "inputs_microseconds_1_seed": round(inputs(members, 1, count), 1),
        "inputs_microseconds_all_seeds": round(inputs(members, members, count), 1),
    }
    for name, value in row.items():
        print(f"{name:<34}{value:>8}")
    if arguments.output:
        about = {"command": " ".join(["python", *sys.argv]), "commit": git_commit(), "numpy": np.__version__}
        hardware = {"device": processor_name(), "cpus": os.cpu_count(), "torch": torch.__version__}
        save_json(arguments.output, about | hardware | row)


if __name__ == "__main__":
    main()
