"""Is it the true label that helps, or more reconstruction of labelled images? Controls for label replacement.

Trains the baseline (τ = 0), LaRVAE, LaRVAE with the inferred in place of the true label, and both with a nuisance
that gets no gradient of L_rep (Section 3.2), with and without a nuisance, × seeds on dSprites, scheduled by Ray Tune
and logged to MLflow. The same command again goes on from where it stopped.

    python sweeps/control_sweep.py                       minutes on two cores
    python sweeps/control_sweep.py --preset laptop       a night on 2 to 8 cores
    python sweeps/control_sweep.py --z-dims 5            without the arms that have no nuisance
    python sweeps/control_sweep.py --address auto        on a running Ray cluster
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from larvae.config import REPLACEMENTS
from sweeps import grid, options

PRESETS = grid.presets(
    "control-sweep",
    "analysis/controls.py",
    {"tau": (0.0, 1.0), "replacement": REPLACEMENTS, "detach_nuisance": (False, True), "z_dim": (5, 0)},
    quick={"z_dim": (5,)},
)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    return grid.run_grid(arguments, PRESETS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(options.main(run))
