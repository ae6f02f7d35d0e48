"""Step 6: the same card under Ray: eager PyTorch in shares of 1/6, the usual way, and this project's sweep."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gpu.measuring import Task, answers, figures, of_own_seeds, task
from gpu.rows import Figures, Row, Settings
from larvae.files import load_json, read_lines

SWEEP = Path(__file__).parents[2] / "sweeps" / "tau_sweep.py"
SMALL = (
    *("--preset", "quick", "--taus", "1", "--label-rates", "0.01", "--seeds", "1", "--batch-size", "4"),
    *("--iterations", "8", "--evaluate-every", "8", "--log-every", "2", "--evaluation-size", "100", "--no-compile"),
)
FULL = ("--preset", "paper", "--seeds", "11", "--log-every", "50", "--evaluate-every", "50000", "--probe-minutes", "4")
"""Section 5.2's 132 members, with rows so often that they tell the rate."""
EIGHT = ("--members-per-trial", "8")
"""One number of members, whose step a single thread compiles once, leaves the probe time for numbers of processes."""
STOPPING = 30.0
"""Seconds in which a sweep that is interrupted ends."""


def rows(settings: Settings) -> list[Row]:
    """The rows, the most informative first: what is usual, by which others are told, then the sweep, then shares."""
    in_shares = ("--gpus-per-trial", "0.1666", "--members-per-trial", "1", "--no-compile")
    chosen = settings.in_small(FULL, SMALL)
    return [
        Row("stock PyTorch in Ray's shares of 1/6", lambda: in_ray_shares(settings), 40),
        Row("tau_sweep.py, eight members a trial", lambda: swept((*chosen, *EIGHT), 360, settings), 120),
        Row(
            "tau_sweep.py in shares of 1/6, groups of one, not compiled",
            lambda: swept((*chosen, *in_shares), 70, settings),
            60,
        ),
    ][: settings.in_small(3, 2)]


def in_ray_shares(settings: Settings) -> Figures:
    """The rate of textbook members, each an actor that holds a share of the GPU."""
    import ray

    count = settings.in_small(6, 2)
    gpus = 0.1666 if settings.device == "cuda" else 0
    ray.init(num_cpus=max(count, os.cpu_count() or 1), include_dashboard=False, log_to_driver=False)
    try:
        actor = ray.remote(num_cpus=1, num_gpus=gpus)(_Actor)
        members = of_own_seeds(count)
        actors = [actor.remote(task("textbook", [member], settings)) for member in members]
        found: Figures = {"way": "textbook", "members": count, "processes": count, "gpus_each": gpus}
        for phase in range(3):
            answered = ray.get([actor.answer.remote() for actor in actors], timeout=settings.timeout)
            found |= figures(phase, answered, count)
        return found
    finally:
        ray.shutdown()


class _Actor:
    """A process of Ray's that does a task."""

    def __init__(self, task: Task) -> None:
        self._next = functools.partial(next, answers(task))

    def answer(self) -> Figures:
        """The figures of the next phase."""
        return self._next()


def swept(flags: Sequence[str], seconds: float, settings: Settings) -> Figures:
    """Run the sweep for some seconds at most; the rate by its members' rows, and what it has measured on GPUs."""
    with tempfile.TemporaryDirectory(prefix="gpu-sweep-", ignore_cleanup_errors=True) as name:
        folder, started = Path(name), time.monotonic()
        places = ("--study", "sweep", "--storage-path", name, "--tracking-uri", f"sqlite:///{folder / 'mlflow.db'}")
        limit = settings.timeout_of(seconds + STOPPING) - STOPPING
        told = _interrupted([sys.executable, str(SWEEP), *flags, *places], folder, limit)
        found: Figures = {"seconds": round(time.monotonic() - started, 1), "told": told}
        rows = (read_lines(path)[0] for path in (folder / "sweep" / "members").glob("*/rows.jsonl"))
        members = [of_one for of_one in rows if of_one]
        if (rates := folder / "sweep" / "gpu_rates.json").exists():
            found["gpu_rates"] = load_json(rates)
    found |= {"members": len(members), "reached": sum(int(rows[-1]["iteration"]) for rows in members)}
    if not members:
        return found | {"failed": f"no member has reported within {limit:.0f} s: {told[-300:]}"}
    return found | {"iterations_per_second": rate_of(members)} | deviations_of(rows[0] for rows in members)


def rate_of(members: Sequence[Sequence[dict[str, float]]]) -> float:
    """Model-iterations a second in the second half of the time that has rows, by each member's rows in their order."""
    times = [[row["timestamp"] for row in rows] for rows in members]
    first, last = min(map(min, times)), max(map(max, times))
    if first == last:
        return 0.0
    middle, iterations = (first + last) / 2, 0.0
    for rows, when in zip(members, times, strict=True):
        then, now = np.interp([middle, last], when, [row["iteration"] for row in rows])
        iterations += now - then
    return round(iterations / (last - middle), 1)


def deviations_of(firsts: Iterable[dict[str, float]]) -> Figures:
    """The largest deviations of groups' first steps, by their members' first rows; none where they checked nothing."""
    found: Figures = {}
    for row in firsts:
        for name in ("fused_loss_deviation", "fused_update_deviation"):
            if name in row:
                found[name] = max(found.get(name, 0.0), row[name])
    return found


def _interrupted(command: Sequence[str], folder: Path, seconds: float) -> str:
    """Run a command, and interrupt it after some seconds, as Ctrl-C does; the end of what it has written."""
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)
        try:
            process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOPPING)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return log.read_text(errors="replace")[-4000:]
