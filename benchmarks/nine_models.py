"""Trains each of the nine models for 500 iterations on dSprites: losses must fall, and every term be finite.

python benchmarks/nine_models.py --output benchmarks/results/nine_models.json --commit $(git rev-parse HEAD)
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import torch

from larvae import datasets
from larvae.config import MemberConfig
from larvae.functional import can_compile
from larvae.hardware import device_name
from larvae.training import Trainer

VARIANTS = {
    "unsupervised": {"alpha": 0.0, "tau": 0.0},
    "semi-supervised": {"tau": 0.0},
    "LaRVAE": {},
}
FIRST, LAST = 50, 50  # iterations over which the first and the last means are taken


def models() -> dict[str, MemberConfig]:
    """The nine by name."""
    return {
        f"{regulariser} {variant}": MemberConfig(regulariser=regulariser, **weights)
        for regulariser in ("beta_vae", "beta_tcvae", "factor_vae")
        for variant, weights in VARIANTS.items()
    }


def train_one(task: tuple[str, MemberConfig, int]) -> dict[str, Any]:
    """Mean terms over the first and the last iterations, and the time of a step."""
    name, config, iterations = task
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dataset = datasets.open_dataset(config.dataset, datasets.prepare(config.dataset))
    trainer = Trainer(config, dataset, device=device, compiled=device == "cuda" or can_compile())
    first = trainer.train(FIRST)  # raises where a term is not finite
    started = time.perf_counter()
    between = trainer.train(iterations - FIRST - LAST)
    last = trainer.train(LAST)
    seconds = (time.perf_counter() - started) / (iterations - FIRST)
    assert all(map(math.isfinite, [*first.values(), *between.values(), *last.values()]))
    return {"model": name, "first": first, "last": last, "seconds_per_iteration": round(seconds, 4)}


def main() -> None:
    """Train in parallel, print a table, write what was measured; exit code 1 if a loss has not fallen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path)
    parser.add_argument("--commit", default="unknown")
    arguments = parser.parse_args()
    datasets.prepare("dsprites", progress=True)
    tasks = [(name, config, arguments.iterations) for name, config in models().items()]
    with multiprocessing.get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
        results = pool.map(train_one, tasks, chunksize=1)
    print(f"{'model':<28}{'loss, first 50':>16}{'last 50':>10}   terms of the last 50")
    for result in results:
        terms = "  ".join(f"{name} {value:.1f}" for name, value in result["last"].items() if name != "loss")
        print(f"{result['model']:<28}{result['first']['loss']:>16.1f}{result['last']['loss']:>10.1f}   {terms}")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(_report(arguments, results), indent=1) + "\n")
    raise SystemExit(any(result["last"]["loss"] >= result["first"]["loss"] for result in results))


def _report(arguments: argparse.Namespace, results: list[dict[str, Any]]) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    return {
        "command": f"python benchmarks/nine_models.py --iterations {arguments.iterations}",
        "commit": arguments.commit,
        "device": device_name("cuda" if on_gpu else "cpu"),
        "processes": arguments.processes,
        "torch": torch.__version__,
        "models": results,
    }


if __name__ == "__main__":
    main()
