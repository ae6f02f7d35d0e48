"""Measures what surrounds the step: preparing data, the memory it takes, evaluation, and what Ray Tune adds to a trial.

python benchmarks/around_the_step.py --output benchmarks/results/around_the_step.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from larvae import allocator
from larvae.files import save_json
from larvae.hardware import processor_name
from sweeps.tracking.provenance import git_commit

PREPARE = "from larvae import datasets; datasets.prepare('dsprites')"
RESIDENT = """
import sys, numpy as np
from pathlib import Path
from larvae import datasets
path = datasets.prepare('dsprites')
dataset = datasets.open_dataset('dsprites', path)
for indices in np.array_split(np.arange(dataset.num_images), 200):
    dataset.images(indices)
print('ready', flush=True)
sys.stdin.readline()
lines = Path('/proc/self/smaps').read_text().splitlines()
inside, kilobytes = False, 0
for line in lines:
    if '-' in line.split()[0]:
        inside = str(path) in line
    elif inside and line.startswith('Pss:'):
        kilobytes += int(line.split()[1])
print(kilobytes, flush=True)
sys.stdin.readline()
"""
EVALUATE = """
import json, time, torch
torch.set_num_threads(1)
from larvae import datasets
from larvae.config import MemberConfig
from larvae.evaluation import evaluate
from larvae.training import Trainer
dataset = datasets.open_dataset('dsprites', datasets.prepare('dsprites'))
trainer = Trainer(MemberConfig(), dataset, compiled=True)
seconds = {}
timed = {'warm-up': ('l2',), 'mig_and_l2': ('mig', 'l2'), 'factor_vae_score': ('factor_vae_score',)}
for name, metrics in timed.items():
    started = time.perf_counter()
    evaluate(trainer, 10_000, metrics)
    seconds[name] = round(time.perf_counter() - started, 2)
print(json.dumps(seconds))
"""


def prepare_seconds() -> float:
    """Rendering dSprites into an empty cache, as a command, on all cores."""
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", PREPARE], check=True, env=os.environ | {"LARVAE_CACHE_DIR": cache})
        return round(time.perf_counter() - started, 1)


def resident_megabytes(processes: int) -> float:
    """Megabytes that the data of a node take when some processes have read every image: their PSS together."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", RESIDENT]
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(processes)]
    total = 0

    def ask(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        print(file=process.stdin, flush=True)

    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        ask(process)
    for process in running:
        assert process.stdout is not None
        total += int(process.stdout.readline())
    for process in running:
        process.communicate("\\n")
    return round(total * 1024 / 1e6, 1)


def evaluation_seconds() -> dict[str, float]:
    """Encoding 10,000 images (and 5,000 for the FactorVAE score) with the fused encoder, and the metrics; one core."""
    command = [sys.executable, "-c", EVALUATE]
    if sys.platform == "linux":
        command = ["taskset", "-c", "0", *command]
    answer = subprocess.run(
        command, check=True, env=os.environ | allocator.ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    return json.loads(answer.stdout)


def study_times(members: int, iterations: int) -> dict[str, float]:
    """A study of tiny members by the sweep's own command: its time against that of its members alone."""
    sweep = Path(__file__).parent.parent / "sweeps" / "tau_sweep.py"
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--study", "tiny", "--taus", "1", "--label-rates", "0.01", "--seeds", str(members), "--no-compile"]
        flags += ["--batch-size", "4", "--iterations", str(iterations), "--evaluation-size", "200", "--log-every", "50"]
        flags += ["--final-metrics", "mig", "l2", "--tracking-uri", "sqlite:///mlflow.db", "--preset", "quick"]
        started = time.perf_counter()
        subprocess.run([sys.executable, str(sweep), *flags], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        results = [json.loads(path.read_text()) for path in Path(folder).glob("results/tiny/members/*/result.json")]
        started_at = min(row["timestamp"] - row["seconds"] for result in results for row in result["history"])
        ended_at = max(row["timestamp"] for result in results for row in result["history"])
    assert len(results) == members
    slots = os.cpu_count() or 1
    busy = sum(row["seconds"] for result in results for row in result["history"])
    training = ended_at - started_at
    return {
        "members": members,
        "seconds": round(seconds, 1),
        "seconds_from_first_to_last_step": round(training, 1),
        "seconds_of_training_alone": round(busy, 1),
        "ideal_seconds": round(busy / slots, 1),
        "ratio_to_ideal": round(seconds / (busy / slots), 2),
        "overhead_seconds_per_trial": round((training * slots - busy) / members, 3),
    }


def main() -> None:
    """Measure one thing after the other, print each, write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1000, help="of the study of tiny members")
    parser.add_argument("--member-iterations", type=int, default=30, help="of each: a second or less")
    parser.add_argument("--processes", type=int, default=4, help="that share the data")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "commit": git_commit(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
    }
    measurements = {
        "prepare_dsprites_seconds": prepare_seconds,
        "resident_data_megabytes_one_process": lambda: resident_megabytes(1),
        f"resident_data_megabytes_{arguments.processes}_processes": lambda: resident_megabytes(arguments.processes),
        "evaluation_seconds": evaluation_seconds,
        "study": lambda: study_times(arguments.members, arguments.member_iterations),
    }
    for name, measure in measurements.items():
        report[name] = measure()
        print(f"{name}: {json.dumps(report[name])}", flush=True)
    if arguments.output:
        save_json(arguments.output, report)


if __name__ == "__main__":
    main()
