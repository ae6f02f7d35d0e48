"""Figures 2, E.1 and E.2 of the paper: LaRVAE against its baselines at several label rates (Section 5.1).

Trains data sets × regularisers × label rates × with and without label replacement × seeds, scheduled by Ray
Tune and logged to MLflow. The same command again goes on from where it stopped.

    python sweeps/label_rate_sweep.py                       minutes on two cores
    python sweeps/label_rate_sweep.py --preset laptop       a night on 2 to 8 cores
    python sweeps/label_rate_sweep.py --datasets dsprites shapes3d-rendered
    python sweeps/label_rate_sweep.py --address auto        on a running Ray cluster
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from larvae.config import Schedule
from larvae.errors import InvalidInputError
from sweeps import grid, options
from sweeps.grid import Budget, GridOptions

PRESETS = grid.presets(
    "label-rate-sweep",
    "analysis/label_rates.py",
    {
        "regulariser": ("beta_vae", "beta_tcvae", "factor_vae"),
        "label_rate": (0.01, 0.015, 0.02, 0.025),
        "dataset": ("dsprites",),
    },
    budgets={
        "quick": Budget(
            2, Schedule(iterations=300, log_every=50, evaluate_every=300, final_metrics=options.QUICK_METRICS)
        ),
        "laptop": Budget(3, Schedule(iterations=5_000, log_every=100, evaluate_every=1_000)),
        "paper": grid.BUDGETS["paper"],
    },
    quick={"label_rate": (0.01, 0.025)},
    paper={"dataset": ("dsprites", "shapes3d", "isaac3d")},
)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    return grid.run_grid(arguments, PRESETS, __doc__ or "", with_baseline)


def with_baseline(chosen: GridOptions) -> GridOptions:
    """The same with τ = 0 beside the chosen τ. Raises InvalidInputError where that is 0, too."""
    if "tau" in chosen.varied:
        raise InvalidInputError("`grid` must name another field than tau, which is compared with 0 here: give --tau")
    tau = chosen.model["tau"]
    if tau <= 0:
        raise InvalidInputError(f"`tau` must be > 0, to be compared with τ = 0, got {tau:g}")
    return dataclasses.replace(chosen, values={"tau": (0.0, tau), **chosen.values})


if __name__ == "__main__":
    sys.exit(options.main(run))
