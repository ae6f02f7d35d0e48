"""Figures 4d-f and E.4 of the paper: label traversals on CelebA, the baseline's and LaRVAE's (Section 5.3).

Trains τ ∈ {0, 0.05} × seeds, with labels of all 40 attributes of 1 % of the photographs, scheduled by Ray Tune and
logged to MLflow. The same command again goes on from where it stopped.

The photographs are not downloaded. Put list_attr_celeba.txt and img_align_celeba.zip (1.4 GB, unpacked or not) from
http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html into one folder, and convert them once with the first command:

    python -m larvae.datasets prepare celeba --source FOLDER
    python sweeps/celeba_sweep.py                         minutes on two cores
    python sweeps/celeba_sweep.py --preset laptop         a night on 2 to 8 cores
    python sweeps/celeba_sweep.py --preset paper --plan   time, memory and price of the paper's size; trains nothing
    python sweeps/celeba_sweep.py --address auto          on a running Ray cluster

The attributes depend on each other, so of the metrics only ℓ2 is computed. The figure is of the six attributes that the
paper varies.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from larvae.config import Schedule
from larvae.datasets import SPECIFICATIONS
from larvae.metrics import DEFAULT_METRICS, applicable
from sweeps import grid, options
from sweeps.grid import Budget

METRICS = applicable(DEFAULT_METRICS, SPECIFICATIONS["celeba"])
VARIED = ("bangs", "bushy_eyebrows", "glasses", "pale_face", "receding_hairline", "smiling")
"""Attributes that Figs. 4d-f and E.4 vary, by the paper's names."""

_schedule = partial(Schedule, metrics=METRICS, final_metrics=METRICS)
PRESETS = grid.presets(
    "celeba-sweep",
    f"analysis/traversals.py --factors {' '.join(VARIED)}",
    {"tau": (0.0, 0.05), "label_rate": (0.01,), "dataset": ("celeba",)},
    budgets={
        "quick": Budget(2, _schedule(iterations=300, log_every=50, evaluate_every=300)),
        "laptop": Budget(3, _schedule(iterations=20_000, log_every=100, evaluate_every=2_000)),
        "paper": Budget(6, _schedule(iterations=1_000_000, log_every=1_000, evaluate_every=50_000)),
    },
)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    return grid.run_grid(arguments, PRESETS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(options.main(run))
