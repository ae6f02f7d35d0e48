"""Step 5: the τ sweep's 132 members through groups, stopped once and gone on with; metrics and losses against a CPU."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gpu.processes import ProcessFailedError, alone, sharing_the_gpu
from gpu.rows import Figures, LeftOutError, Row, Settings
from gpu.under_ray import deviations_of
from larvae import datasets
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.evaluation import evaluate
from larvae.files import load_json, save_json
from larvae.member_directory import MemberDirectory
from larvae.resuming import restore
from larvae.training import Trainer

TAUS, LABEL_RATES, SEEDS = (0.0, 0.1, 0.5, 1.0, 5.0, 10.0), (0.01, 0.02), 11
METRICS = {"mig": 0.02, "l2": 0.02}
"""Metrics of members that have ended, with most that they may be away from a CPU's of the same parameters."""
MOST_OF_LOSSES = 0.02
"""Most that a member's mean losses may be away from a CPU's of as many iterations, by these."""
COMPILING = 150.0
"""Seconds beside those of training in which processes compile their steps, all at once."""
PROCESSES = 5
"""As many as groups of 28 come to: four of members with τ > 0, one of those without."""


def rows(settings: Settings) -> list[Row]:
    """The rows: two parts of one study, and what it has come to."""
    folder = Path(tempfile.mkdtemp(prefix="gpu-study-"))
    seconds = settings.seconds_left
    first, second = settings.in_small((0.35 * seconds, 0.45 * seconds), (1.0, 600.0))

    def begin() -> Figures:
        write_study(folder, settings)
        return _trained(folder, first, settings)

    def go_on() -> Figures:
        if not (folder / "begun.json").exists():
            raise LeftOutError("the first part has not ended")
        begun, record = load_json(folder / "begun.json"), load_json(folder / "study.json")
        found = _trained(folder, second, settings)
        # Members that had ended are not opened again.
        left = begun["reached"] - begun["finished"] * record["schedule"]["iterations"]
        lost = left - found["resumed_from"]
        return found | ({"failed": f"{lost} iterations are lost of {left}"} if lost > 0 else {})

    def compared() -> Figures:
        try:
            return alone(against_a_cpu, folder, settings.timeout)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return [
        Row("132 members, begun", begin, 90),
        Row("the same, gone on with", go_on, 60),
        Row("metrics and losses, and a CPU's", compared, 30),
    ]


def write_study(folder: Path, settings: Settings) -> None:
    """A study's folder, as a sweep would have left it before its first trial."""
    iterations, log_every = settings.in_small((2000, 50), (6, 2))
    schedule = Schedule(
        iterations=iterations,
        log_every=log_every,
        evaluate_every=iterations,
        evaluation_size=settings.in_small(10_000, 100),
        metrics=tuple(METRICS),
        final_metrics=tuple(METRICS),
    )
    dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites"))
    record = {
        "format": FORMAT,
        "schedule": asdict(schedule),
        "fingerprints": {"dsprites": dataset.fingerprint},
        "members": {member.content_hash: {"config": member.to_dict()} for member in members(settings)},
    }
    save_json(folder / "study.json", record)


def members(settings: Settings) -> list[MemberConfig]:
    """The members of Section 5.2; in a rehearsal three."""
    grid = [(tau, rate, seed) for tau in TAUS for rate in LABEL_RATES for seed in range(SEEDS)]
    if settings.small:
        grid = [(0.0, 0.01, 0), (1.0, 0.01, 0), (5.0, 0.01, 0)]
    return [
        MemberConfig(tau=tau, label_rate=rate, seed=seed, batch_size=settings.batch_size) for tau, rate, seed in grid
    ]


def against_a_cpu(folder: Path) -> Iterator[Figures]:
    """Metrics of three members that have ended, of their parameters on a CPU; then their first losses there."""
    torch.set_num_threads(4)
    record = load_json(folder / "study.json")
    size, log_every = record["schedule"]["evaluation_size"], record["schedule"]["log_every"]
    dataset = datasets.open_dataset("dsprites", datasets.prepare("dsprites"))
    ended = [directory for directory in _directories(folder, record) if directory.read_result()]
    if not ended:
        raise LeftOutError("no member has ended")
    chosen = [ended[place] for place in sorted({0, len(ended) // 2, len(ended) - 1})]
    firsts = [(directory.read_result() or {})["history"][0] for directory in ended]
    found: Figures = {"ended": len(ended), "compared": len(chosen)} | deviations_of(firsts)
    faults = []
    for directory in chosen:
        row = (directory.read_result() or {})["history"][-1]
        values = evaluate(restore(directory.checkpoint, dataset), size, METRICS)
        for name, most in METRICS.items():
            apart = abs(values[name] - row[name])
            found[f"{name}_apart"] = max(found.get(f"{name}_apart", 0.0), apart)
            if not apart <= most * max(1, abs(values[name])):
                faults.append(f"{name} is {row[name]:.4f}, but {values[name]:.4f} on the CPU")
    yield found | ({"failed": "; ".join(faults)} if faults else {})
    for directory in chosen:
        apart = _losses_apart(directory, dataset, log_every)
        found["losses_apart"] = max(found.get("losses_apart", 0.0), apart)
        if not apart <= MOST_OF_LOSSES:
            faults.append(f"losses are apart by {apart:.2g}, more than {MOST_OF_LOSSES:g}")
    yield found | ({"failed": "; ".join(faults)} if faults else {})


def _losses_apart(directory: MemberDirectory, dataset: Any, log_every: int) -> float:
    """The largest difference of a member's first two mean losses from a CPU's, by these."""
    result = directory.read_result() or {}
    trainer = Trainer(MemberConfig.from_dict(result["config"]), dataset)
    expected = [trainer.train(log_every)["loss"] for _ in range(2)]
    found = [row["loss"] for row in result["history"][:2]]
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in zip(found, expected, strict=True))


def _directories(folder: Path, record: Figures) -> list[MemberDirectory]:
    return [MemberDirectory(folder / "members" / name) for name in record["members"]]


def _trained(folder: Path, seconds: float, settings: Settings) -> Figures:
    """Train the study for some seconds with `train_study.py`; its summary, which is kept for the next part."""
    script = Path(__file__).parents[1] / "train_study.py"
    summary = folder / "summary.json"
    flags = ["--device", settings.device, "--seconds", str(seconds), "--summary", str(summary)]
    flags += ["--processes", str(settings.in_small(PROCESSES, 1)), "--group-size", str(settings.in_small(32, 2))]
    flags += [] if settings.small else ["--compile"]
    with sharing_the_gpu(settings.device) as has_mps:
        done = _run([sys.executable, str(script), str(folder), *flags], settings.timeout_of(seconds + COMPILING))
    if not summary.exists():
        raise ProcessFailedError(done)
    found = load_json(summary)
    save_json(folder / "begun.json", found)
    summary.unlink()
    if found["failed"]:
        found["failed"] = f"{found['failed']} members have failed: {done}"
    else:
        del found["failed"]
    told_elsewhere = ("command", "commit", "device", "torch")
    return {"mps": has_mps} | {name: value for name, value in found.items() if name not in told_elsewhere}


def _run(command: Sequence[str], timeout: float) -> str:
    """Run a command; the last line that it has written. Its processes end with it: they would keep the GPU."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(f"it has not ended within {timeout:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(0)
        return json.dumps(log.read().strip().rpartition("\n")[2][:300])
