"""Figure 3a of the paper: MIG and ℓ2 against τ, the strength of label replacement (Section 5.2).

Trains τ × label rate × seeds on dSprites, scheduled by Ray Tune and logged to MLflow. The same
command again goes on from where it stopped.

    python sweeps/tau_sweep.py                       minutes on two cores
    python sweeps/tau_sweep.py --preset laptop       a night on 2 to 8 cores
    python sweeps/tau_sweep.py --address auto        on a running Ray cluster
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
class TauSweepOptions(OneModelOptions):
    """The τ sweep's command line."""

    figure_command: ClassVar[str] = "analysis/sensitivity.py --parameter tau"

    taus: tuple[float, ...] = (0.0, 0.1, 0.5, 1.0, 5.0, 10.0)
    """Values of τ; 0 is the baseline without label replacement."""
    label_rates: tuple[float, ...]
    """Shares of the images whose labels are known."""
    z_dim: int = 5
    """Dimensions of the nuisance z."""


PRESETS = {
    "quick": TauSweepOptions(
        preset="quick",
        study="tau-sweep-quick",
        label_rates=(0.01,),
        seeds=3,
        schedule=Schedule(iterations=500, log_every=50, evaluate_every=250, final_metrics=options.QUICK_METRICS),
    ),
    "laptop": TauSweepOptions(
        preset="laptop",
        study="tau-sweep-laptop",
        label_rates=(0.01, 0.02),
        seeds=2,
        schedule=Schedule(iterations=10_000, log_every=100, evaluate_every=1_000),
    ),
    "paper": TauSweepOptions(
        preset="paper",
        study="tau-sweep-paper",
        label_rates=(0.01, 0.02),
        seeds=6,
        schedule=Schedule(iterations=1_000_000, log_every=1_000, evaluate_every=50_000),
    ),
}


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    chosen = options.parse(arguments, PRESETS, options.default_preset, __doc__ or "")
    swept = {"seed": range(chosen.seeds), "label_rate": chosen.label_rates, "tau": chosen.taus}
    study = grid(chosen.study, chosen.shared_fields, swept, chosen.schedule)
    from sweeps import runner  # late: it loads PyTorch and Ray, which `--help` and errors above need not

    return runner.run_study(study, chosen)


if __name__ == "__main__":
    sys.exit(options.main(run))
