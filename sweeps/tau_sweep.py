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

from sweeps import grid, options

PRESETS = grid.presets(
    "tau-sweep",
    "analysis/sensitivity.py --parameter tau",
    {"tau": (0.0, 0.1, 0.5, 1.0, 5.0, 10.0), "label_rate": (0.01, 0.02)},
    quick={"label_rate": (0.01,)},
)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    return grid.run_grid(arguments, PRESETS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(options.main(run))
