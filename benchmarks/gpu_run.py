"""The prepared run on a GPU: six steps of nine minutes at most, each row compared with float32 on the CPU.

    python benchmarks/gpu_run.py 1 --output FOLDER --commit $(git rev-parse HEAD)

1: the host, and each way's gradients, losses and launches   4: resuming, metrics, out of memory
2: rates of one process                                      5: the τ sweep's 132 members through groups
3: processes that share the GPU                              6: Ray's shares, then a sweep with its defaults

A row is written to FOLDER/step-N.json as it comes, the most informative first, and those are left out for which no
time remains. Exit code 0; 1 if a row has failed or disagrees; 2 if nothing can be measured here.

Steps 1 to 5 need larvae alone. Of its packages a bare host with PyTorch may lack pooch and platformdirs; where no
package can be fetched there, take them along as wheels in a folder that git ignores, `.whl` say:

    python -m pip download --no-deps --only-binary=:all: -d .whl pooch platformdirs                       # here
    python -m pip install --no-index --no-deps --target /tmp/site .whl/*.whl                              # there
    PYTHONPATH=$PWD:/tmp/site python benchmarks/gpu_run.py 1 --output "$OUT" --commit HASH

Half an hour of a card holds three steps: 2, then 3 (--minutes 7), then 4 or 5; each call right after the other, or a
lent machine goes back with what was compiled there.

Step 6 needs all packages of pyproject.toml. A rehearsal takes minutes: --device cpu --small.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from gpu import facts, hazards, rates, sharing, study, under_ray
from gpu.rows import Report, Settings, measure

from larvae import datasets

STEPS = {1: facts.rows, 2: rates.rows, 3: sharing.rows, 4: hazards.rows, 5: study.rows, 6: under_ray.rows}


def main() -> int:
    """Measure the rows of a step; the exit code."""
    arguments = _arguments()
    if arguments.step == 6 and importlib.util.find_spec("ray") is None:
        print("error: step 6 needs Ray, which is not installed here", file=sys.stderr)
        return 2
    deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)
    datasets.prepare("dsprites", progress=True)
    report = Report(arguments.output / f"step-{arguments.step}.json", _about(arguments))
    settings = Settings(deadline=deadline, device=arguments.device, small=arguments.small, seconds=arguments.seconds)
    with contextlib.suppress(KeyboardInterrupt):
        return measure(STEPS[arguments.step](settings), report, settings)
    return 130


def _about(arguments: argparse.Namespace) -> dict[str, Any]:
    # In another process, so that this one takes no memory of the GPU.
    code = f"from larvae.hardware import device_name; print(device_name({arguments.device!r}))"
    return {
        "step": arguments.step,
        "command": " ".join(["python", *sys.argv]),
        "commit": arguments.commit,
        "hardware": subprocess.check_output([sys.executable, "-c", code], text=True).strip(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "rehearsal": arguments.small,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", type=int, choices=STEPS)
    parser.add_argument("--output", type=Path, required=True, help="folder for step-N.json")
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--minutes", type=float, default=8.8, help="after which no row is begun, or goes on")
    parser.add_argument("--seconds", type=float, default=8, help="over which each rate is measured")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="rehearse: tiny batches, few members, nothing compiled")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("`--device` must be cpu where PyTorch sees no GPU, got cuda")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
