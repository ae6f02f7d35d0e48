"""Compares ways to train many members on one GPU: model-iterations per second in total, and memory per member.

Needs larvae alone, and a GPU that nobody else uses. Each row is measured in fresh processes, so that where one fails
the rest go on, and is written at once. Columns: `inputs`, milliseconds that making them takes a model-iteration;
`GB`, a member's share of what the allocator has reserved and of contexts; `set-up`, seconds with compilation and
warm-up; `loss`, the mean of the first 20 iterations: of as many members, all ways but the textbook's must agree.

    python benchmarks/gpu.py --output benchmarks/results/gpu.json --commit $(git rev-parse HEAD)
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gpu_ways import VARIANTS
from textbook import TextbookTrainer

from larvae import datasets
from larvae.config import MemberConfig
from larvae.errors import one_line
from larvae.files import save_json
from larvae.training import Trainer

WARM_UP = 20
"""Iterations before any is timed; their mean loss tells whether a way is right."""
MPS = "nvidia-cuda-mps-control"


def work(pipe: Connection, task: dict[str, Any]) -> None:
    """A process of a row: after each answer it waits for a word to go on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    try:
        for answer in _answers(**task):
            pipe.send(answer)
            pipe.recv()
    except Exception as error:
        pipe.send({"failed": one_line(error), "details": traceback.format_exc()[-3000:]})


def _answers(
    variant: str, seeds: list[int], device: str, batch_size: int, blank: bool, seconds: float
) -> Iterator[dict[str, Any]]:
    """Yield what is known after warming up; after measuring; while all processes of the row still hold their memory."""
    torch.set_num_threads(1)
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    started, way = time.perf_counter(), VARIANTS[variant]
    dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites"))
    if blank:
        black = np.zeros((batch_size, 1, 64, 64), np.uint8)
        dataset = replace(dataset, store=SimpleNamespace(maximum=1, images=lambda indices: black))
    configs = [MemberConfig(seed=seed, batch_size=batch_size) for seed in seeds]
    if way.is_textbook:
        trainers: list[Any] = [TextbookTrainer(config, dataset, device) for config in configs]
    else:
        trainers = [Trainer(config, dataset, device=device, compiled=way.compiled) for config in configs]
    loop = way.make(trainers)
    for _ in range(WARM_UP):
        loop.step()
    loss = loop.loss()
    synchronise()
    skipped = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
    yield {"set_up": time.perf_counter() - started, "loss": loss, "skipped_graphs": skipped}
    yield {"rate": len(seeds) * _rate(loop.step, seconds, synchronise)}
    if not math.isfinite(loop.loss() or 0):
        raise FloatingPointError("a loss is not finite")
    inputs = 0.0 if way.is_textbook else 1 / _rate(lambda: trainers[0].inputs(0), min(1, seconds), synchronise)
    free, total = torch.cuda.mem_get_info() if device == "cuda" else (0, 0)
    reserved, peak = torch.cuda.memory_reserved(), torch.cuda.max_memory_reserved()
    yield {"inputs": inputs, "used": total - free, "reserved": reserved, "peak": peak}


def _rate(step: Callable[[], object], seconds: float, synchronise: Callable[[], None]) -> float:
    """Steps a second, over some seconds."""
    synchronise()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step()
        count += 1
    synchronise()
    return count / (time.perf_counter() - started)


class RowFailedError(Exception):
    """A process of a row has failed; the argument is what it said."""


def measure(variant: str, members: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """A row. It says `failed` where a process has failed or has taken too long."""
    count = members if VARIANTS[variant].is_textbook else min(arguments.processes, members)
    task = {name: getattr(arguments, name) for name in ("device", "batch_size", "blank", "seconds")}
    row = task | {"variant": variant, "members": members, "processes": count}
    if VARIANTS[variant].needs_gpu and arguments.device == "cpu":
        return row | {"failed": "needs a GPU"}
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    try:
        with _mps() if variant == "mps" else contextlib.nullcontext():
            try:
                for first in range(count):
                    pipe, other = context.Pipe()
                    given = task | {"variant": variant, "seeds": list(range(first, members, count))}
                    processes.append(context.Process(target=work, args=(other, given)))
                    processes[-1].start()
                    other.close()
                    pipes.append(pipe)
                figures = _figures(*(_gathered(pipes, arguments.timeout) for _ in range(3)), members)
                for process in processes:
                    process.join(20)
                return row | figures
            finally:
                for process in processes:
                    process.kill()
                    process.join()
    except RowFailedError as error:
        return row | error.args[0]
    except (OSError, subprocess.SubprocessError) as error:
        return row | {"failed": str(error)}


def _gathered(pipes: list[Connection], timeout: float) -> list[dict[str, Any]]:
    """The next answer of each process; then all go on together."""
    deadline = time.monotonic() + timeout
    answers: list[dict[str, Any]] = []
    for pipe in pipes:
        if not pipe.poll(max(0, deadline - time.monotonic())):
            raise RowFailedError({"failed": f"no answer within {timeout:g} s"})
        try:
            answers.append(pipe.recv())
        except EOFError:
            raise RowFailedError({"failed": "a process has died; its message is above"}) from None
        if "failed" in answers[-1]:
            raise RowFailedError(answers[-1])
    for pipe in pipes:
        pipe.send("go on")
    return answers


def _figures(ready: list[Any], measured: list[Any], ended: list[Any], members: int) -> dict[str, Any]:
    losses = [answer["loss"] for answer in ready if answer["loss"] is not None]
    reserved, peak = (sum(answer[name] for answer in ended) for name in ("reserved", "peak"))
    contexts = max(0, max(answer["used"] for answer in ended) - reserved)
    return {
        "iterations_per_second": round(sum(answer["rate"] for answer in measured), 1),
        "inputs_milliseconds": round(1e3 * sum(answer["inputs"] for answer in ended) / len(ended), 3),
        "gigabytes_per_member": round((peak + contexts) / members / 1e9, 3) or None,
        "set_up_seconds": round(max(answer["set_up"] for answer in ready), 1),
        "warm_up_loss": round(sum(losses) / len(losses), 3) if losses else None,
        "skipped_graphs": sum(answer["skipped_graphs"] for answer in ready),
    }


@contextlib.contextmanager
def _mps() -> Iterator[None]:
    """NVIDIA's daemon that lets processes use a GPU at once, with its pipes in a folder that goes with it."""
    if not shutil.which(MPS):
        raise RowFailedError({"failed": f"not there: {MPS}"})
    with tempfile.TemporaryDirectory(prefix="mps", ignore_cleanup_errors=True) as folder:
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        os.environ |= dict.fromkeys(names, folder)
        try:
            if subprocess.run([MPS, "-d"], timeout=30).returncode:
                raise RowFailedError({"failed": f"{MPS} has not started"})
            yield
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([MPS], input="quit\n", text=True, timeout=60)
            for name in names:
                del os.environ[name]


def _headline(rows: list[dict[str, Any]]) -> str:
    rated = [row for row in rows if "failed" not in row]
    if not rated:
        return "no row has a figure"
    best = max(rated, key=lambda row: row["iterations_per_second"])
    rate = best["iterations_per_second"]
    shared = max((row["iterations_per_second"] for row in rated if row["variant"] == "processes"), default=None)
    return (
        f"best: {best['variant']}, {best['members']} members: {rate} model-iterations/s, "
        f"{f'{rate / shared:.2f} times' if shared else 'unknown ratio to'} the best of processes; "
        f"132 models × 1,000,000 iterations in {132e6 / rate / 3600:.1f} h; "
        f"{best['gigabytes_per_member']} GB a model, {max(row['gigabytes_per_member'] or 0 for row in rated)} at most"
    )


def _print(row: dict[str, Any]) -> None:
    title = f"{VARIANTS[row['variant']].title:<40}{row['members']:>8}{row['processes']:>11}"
    if "failed" in row:
        print(f"{title}  {row['failed'][:150]}", flush=True)
        return
    note = f"  {row['skipped_graphs']} graphs not captured" if row["skipped_graphs"] else ""
    figures = f"{row['iterations_per_second']:>10}{row['inputs_milliseconds'] or '–':>10}"
    figures += f"{row['gigabytes_per_member'] or '–':>8}{row['set_up_seconds']:>8}{row['warm_up_loss'] or '–':>10}"
    print(title + figures + note, flush=True)


def _hardware(device: str) -> dict[str, Any]:
    # In another process, so that this one takes no memory of the GPU.
    code = f"from larvae.hardware import device_name; print(device_name({device!r}))"
    name = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    return {"device": name, "cpus": os.cpu_count(), "torch": torch.__version__, "cuda": torch.version.cuda}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--members", nargs="+", type=int, default=[1, 4, 8, 16, 32])
    parser.add_argument("--processes", type=int, default=1, help="that share the members, where they have not one each")
    parser.add_argument("--seconds", type=float, default=8, help="of measurement, each row")
    parser.add_argument("--timeout", type=float, default=400, help="seconds of silence until a row is given up")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--blank", action="store_true", help="black images, which cost nothing to read")
    parser.add_argument("--add", action="store_true", help="keep the other rows that the output file has")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--commit", default="unknown")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("`--device` must be cpu where PyTorch sees no GPU, got cuda")
    return arguments


def main() -> None:
    """Measure row by row; print and write each as it comes, and the headline at the end, also after Ctrl-C."""
    arguments = _arguments()
    datasets.prepare("dsprites", progress=True)
    report = _hardware(arguments.device) | {"command": " ".join(["python", *sys.argv]), "commit": arguments.commit}
    rows: list[dict[str, Any]] = []
    if arguments.add and arguments.output and arguments.output.exists():
        rows = json.loads(arguments.output.read_text())["rows"]
    print(f"{report['device']}, PyTorch {report['torch']}, CUDA {report['cuda']}, {report['cpus']} CPUs")
    print(f"{'':<40}{'members':>8}{'processes':>11}{'it/s':>10}{'inputs':>10}{'GB':>8}{'set-up':>8}{'loss':>10}")
    with contextlib.suppress(KeyboardInterrupt):
        for variant, members in itertools.product(arguments.variants, arguments.members):
            row = measure(variant, members, arguments) | {"hardware": report["device"], "commit": arguments.commit}
            _print(row)
            same = ("hardware", "variant", "members", "processes", "batch_size", "blank")
            rows = [old for old in rows if any(old[name] != row[name] for name in same)] + [row]
            if arguments.output:
                save_json(arguments.output, report | {"rows": rows, "headline": _headline(rows)})
    print(_headline(rows))


if __name__ == "__main__":
    main()
