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

from sweeps import grid, options

PRESETS = grid.presets(
    "z-dim-sweep",
    "analysis/sensitivity.py --parameter z_dim",
    {"z_dim": (0, 1, 5, 10, 50), "label_rate": (0.01, 0.02)},
    quick={"label_rate": (0.01,)},
)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    return grid.run_grid(arguments, PRESETS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(options.main(run))
