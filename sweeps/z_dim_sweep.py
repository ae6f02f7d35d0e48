"""Figure 3b of the paper: MIG and ℓ2 against the dimension of the nuisance z (Section 5.2).

Trains z dimensions × label rates × seeds on dSprites, scheduled by Ray Tune and logged to MLflow. The same
command again goes on from where it stopped.

    python sweeps/z_dim_sweep.py                       minutes on two cores
    python sweeps/z_dim_sweep.py --preset laptop       a night on 2 to 8 cores
    python sweeps/z_dim_sweep.py --address auto        on a running Ray cluster
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from larvae.config import Schedule
from sweeps import options
from sweeps.options import OneModelOptions
from sweeps.study import grid


@dataclass(frozen=True, kw_only=True, slots=True)
class ZDimSweepOptions(OneModelOptions):
    """The z sweep's command line."""

    figure_command: ClassVar[str] = "analysis/sensitivity.py --parameter z_dim"

    z_dims: tuple[int, ...] = (0, 1, 5, 10, 50)
    """Dimensions of the nuisance z."""
    label_rates: tuple[float, ...]
    """Shares of the images whose labels are known."""
    tau: float = 1.0
    """Strength τ of label replacement."""


PRESETS = {
    "quick": ZDimSweepOptions(
        preset="quick",
        study="z-dim-sweep-quick",
        label_rates=(0.01,),
        seeds=3,
        schedule=Schedule(iterations=500, log_every=50, evaluate_every=250, final_metrics=options.QUICK_METRICS),
    ),
    "laptop": ZDimSweepOptions(
        preset="laptop",
        study="z-dim-sweep-laptop",
        label_rates=(0.01, 0.02),
        seeds=2,
        schedule=Schedule(iterations=10_000, log_every=100, evaluate_every=1_000),
    ),
    "paper": ZDimSweepOptions(
        preset="paper",
        study="z-dim-sweep-paper",
        label_rates=(0.01, 0.02),
        seeds=6,
        schedule=Schedule(iterations=1_000_000, log_every=1_000, evaluate_every=50_000),
    ),
}


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    chosen = options.parse(arguments, PRESETS, options.default_preset, __doc__ or "")
    swept = {"seed": range(chosen.seeds), "label_rate": chosen.label_rates, "z_dim": chosen.z_dims}
    study = grid(chosen.study, chosen.shared_fields, swept, chosen.schedule)
    from sweeps import runner  # late: it loads PyTorch and Ray, which `--help` and errors above need not

    return runner.run_study(study, chosen)


if __name__ == "__main__":
    sys.exit(options.main(run))
