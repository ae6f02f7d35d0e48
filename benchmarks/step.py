"""Times one training step on one core: textbook PyTorch, each lever on the way, and this project's step, interleaved.

Every variant lives in a process of its own with one thread; they take turns, so that whatever else the machine
does touches all of them alike. Also measured: the core's rate of matrix products, and each process's memory.

    python benchmarks/step.py --output benchmarks/results/step.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peers import Step, pythae_step
from textbook import TextbookTrainer
from torch.utils.flop_counter import FlopCounterMode

from larvae import allocator, datasets, functional
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.files import save_json
from larvae.functional import fast_precision
from larvae.hardware import processor_name
from larvae.training import Trainer
from sweeps.tracking.provenance import git_commit


class Variant(NamedTuple):
    """A way to take a step."""

    title: str
    make: Callable[[MemberConfig, Dataset], Step]
    tuned_malloc: bool


def _textbook(config: MemberConfig, dataset: Dataset) -> Step:
    return TextbookTrainer(config, dataset).step


def _trainer(compiled_in: torch.dtype | None, *, native: bool = False) -> Callable[[MemberConfig, Dataset], Step]:
    def make(config: MemberConfig, dataset: Dataset) -> Step:
        functional.is_faster = lambda precision: native  # type: ignore[attr-defined]
        trainer = Trainer(config, dataset)
        trainer._functions = functional.functions(trainer.structure, compiled_in)
        return trainer.step

    return make


VARIANTS = {
    "textbook": Variant("textbook PyTorch, as it comes", _textbook, False),
    "malloc": Variant("+ allocator keeps freed memory", _textbook, True),
    "plain": Variant("our plain layers, eager", _trainer(None), True),
    "compile": Variant("our plain layers + torch.compile", _trainer(torch.float32), True),
    "bfloat16": Variant("fast layers, bfloat16 + torch.compile", _trainer(torch.bfloat16), True),
    "native": Variant("our own kernels, float32 + torch.compile", _trainer(torch.float32, native=True), True),
    "native_bfloat16": Variant(
        "our own kernels, bfloat16 + torch.compile", _trainer(torch.bfloat16, native=True), True
    ),
    "pythae": Variant("pythae's BetaTCVAE", pythae_step, False),
}
IN_BFLOAT16 = ("bfloat16", "native_bfloat16")


def default_variants() -> list[str]:
    """All of this project; those in bfloat16 only where the core multiplies in it."""
    is_fast = fast_precision(torch.device("cpu")) == torch.bfloat16
    return [name for name in VARIANTS if name != "pythae" and (is_fast or name not in IN_BFLOAT16)]


def work(name: str, fields: dict[str, Any]) -> None:
    """A variant's process: takes as many steps as a line asks for; answers with their seconds, in JSON."""
    torch.set_num_threads(1)
    config = MemberConfig.from_dict(fields)
    dataset = datasets.open_dataset(config.dataset, datasets.prepare(config.dataset))
    started = time.perf_counter()
    step = VARIANTS[name].make(config, dataset)
    step()
    print(json.dumps({"first_step_seconds": time.perf_counter() - started}), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"seconds": seconds, "megabytes": _resident_megabytes()}), flush=True)


class Worker:
    """A variant's process, seen from outside."""

    def __init__(self, name: str, fields: dict[str, Any], core: int) -> None:
        environment = os.environ | (allocator.ENVIRONMENT if VARIANTS[name].tuned_malloc else {})
        command = [sys.executable, __file__, "--worker", name, "--fields", json.dumps(fields)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, {core})
        self.seconds: list[float] = []
        self.first_step_seconds = self._answer()["first_step_seconds"]
        self.megabytes = 0.0

    def take_steps(self, count: int, *, counted: bool = True) -> None:
        assert self.process.stdin is not None
        print(count, file=self.process.stdin, flush=True)
        answer = self._answer()
        self.megabytes = answer["megabytes"]
        if counted:
            self.seconds += answer["seconds"]

    def close(self) -> None:
        self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("error: a variant's process has died; its message is above")
        return json.loads(line)


def matrix_product_rate(precision: torch.dtype, size: int = 1024, repetitions: int = 15) -> float:
    """FLOP a second of square matrix products on one thread, at best."""
    torch.set_num_threads(1)
    a, b = (torch.randn(size, size).to(precision) for _ in range(2))
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)


def step_flop(config: MemberConfig, dataset: Dataset) -> int:
    """Floating-point operations of one textbook step in matrix products and convolutions."""
    trainer = TextbookTrainer(config, dataset)
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    return counter.get_total_flops()


def _resident_megabytes() -> float:
    """Memory that this process alone or its share of pages has (PSS), in MB."""
    rollup = Path("/proc/self/smaps_rollup")
    if not rollup.exists():
        return 0.0
    kilobytes = next(line.split()[1] for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
    return int(kilobytes) * 1024 / 1e6


def main() -> None:
    """Run the variants in turns, print a table, write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=default_variants(), help="pythae where it is installed"
    )
    parser.add_argument("--regulariser", default="beta_tcvae", help="the textbook has beta_tcvae alone")
    parser.add_argument("--tau", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=10, help="turns that each variant takes")
    parser.add_argument("--steps", type=int, default=10, help="steps of a turn")
    parser.add_argument("--core", type=int, default=0, help="all variants run on this one")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--fields", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.fields)
        return
    fields: dict[str, Any] = {"regulariser": arguments.regulariser, "tau": arguments.tau}
    fields |= {"likelihood": "bernoulli", "alpha": 64.0}  # the objective that peers and textbook have
    config = MemberConfig.from_dict(fields)
    dataset = datasets.open_dataset(config.dataset, datasets.prepare(config.dataset, progress=True))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {arguments.core})
    workers = {name: Worker(name, fields, arguments.core) for name in arguments.variants}
    rates: dict[torch.dtype, float] = {torch.float32: 0.0, torch.bfloat16: 0.0}
    for turn in range(arguments.rounds + 1):
        for worker in workers.values():
            worker.take_steps(arguments.steps, counted=turn > 0)
        rates = {kind: max(rate, matrix_product_rate(kind)) for kind, rate in rates.items()}
    for worker in workers.values():
        worker.close()
    report = _report(arguments, config, workers, step_flop(config, dataset), rates)
    _print(report)
    if arguments.output:
        save_json(arguments.output, report)


def _report(
    arguments: argparse.Namespace,
    config: MemberConfig,
    workers: dict[str, Worker],
    flop: int,
    rates: dict[torch.dtype, float],
) -> dict[str, Any]:
    medians = {name: statistics.median(worker.seconds) for name, worker in workers.items()}
    slowest = next(iter(medians.values()))
    rows = [
        {
            "variant": name,
            "title": VARIANTS[name].title,
            "milliseconds": round(1e3 * median, 1),
            "iterations_per_second_and_core": round(1 / median, 2),
            "speedup": round(slowest / median, 2),
            "share_of_float32_rate": round(flop / median / rates[torch.float32], 3),
            "share_of_bfloat16_rate": round(flop / median / rates[torch.bfloat16], 3),
            "megabytes": round(workers[name].megabytes),
            "first_step_seconds": round(workers[name].first_step_seconds, 1),
        }
        for name, median in medians.items()
    ]
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": git_commit(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "member": {"regulariser": config.regulariser, "tau": config.tau, "batch_size": config.batch_size},
        "gigaflop_per_step": round(flop / 1e9, 2),
        "gigaflop_per_second": {str(kind).removeprefix("torch."): round(rate / 1e9) for kind, rate in rates.items()},
        "this_project_runs": str(fast_precision(torch.device("cpu"))).removeprefix("torch."),
        "rows": rows,
    }


def _print(report: dict[str, Any]) -> None:
    rates = report["gigaflop_per_second"]
    print(
        f"{report['processor']}, one core; a step is {report['gigaflop_per_step']} GFLOP; matrix products: "
        f"{rates['float32']} GFLOP/s float32, {rates['bfloat16']} bfloat16; medians of interleaved turns"
    )
    print(f"{'':<42}{'ms':>8}{'it/s':>8}{'speedup':>9}{'of f32':>8}{'of bf16':>9}{'MB':>7}{'first step':>12}")
    for row in report["rows"]:
        print(
            f"{row['title']:<42}{row['milliseconds']:>8.1f}{row['iterations_per_second_and_core']:>8.2f}"
            f"{row['speedup']:>8.2f}×{row['share_of_float32_rate']:>8.0%}{row['share_of_bfloat16_rate']:>9.0%}"
            f"{row['megabytes']:>7}{row['first_step_seconds']:>10.1f} s"
        )


if __name__ == "__main__":
    main()
