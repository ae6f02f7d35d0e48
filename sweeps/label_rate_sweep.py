"""Figures 2, E.1 and E.2 of the paper: LaRVAE against its baselines at several label rates (Section 5.1).

Trains data sets × regularisers × label rates × with and without label replacement × seeds, scheduled by Ray
Tune and logged to MLflow. The same command again goes on from where it stopped.

    python sweeps/label_rate_sweep.py                       minutes on two cores
    python sweeps/label_rate_sweep.py --preset laptop       a night on 2 to 8 cores
    python sweeps/label_rate_sweep.py --datasets dsprites shapes3d-rendered
    python sweeps/label_rate_sweep.py --address auto        on a running Ray cluster
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from larvae.config import Schedule
from larvae.errors import InvalidInputError, require_known
from sweeps import options
from sweeps.options import StudyOptions
from sweeps.study import grid


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRateSweepOptions(StudyOptions):
    """The label rate sweep's command line."""

    figure_command: ClassVar[str] = "analysis/label_rates.py"

    datasets: tuple[str, ...] = ("dsprites",)
    """Data sets to train on: `python -m larvae.datasets` lists them, and prepares those that are not rendered."""
    data_file: tuple[str, ...] = ()
    """Published files, or folders of files, as NAME=PATH. Left out: rendered, or as prepared before."""
    regularisers: tuple[str, ...] = ("beta_vae", "beta_tcvae", "factor_vae")
    """Regularisers, of beta_vae, beta_tcvae and factor_vae; each with its own γ_tc: 3, 4 and 10."""
    label_rates: tuple[float, ...] = (0.01, 0.015, 0.02, 0.025)
    """Shares of the images whose labels are known."""
    tau: float = 1.0
    """Strength τ of label replacement in LaRVAE, which is compared with τ = 0."""
    z_dim: int = 5
    """Dimensions of the nuisance z."""

    @property
    def data_files(self) -> dict[str, Path]:
        files = dict(part.partition("=")[::2] for part in self.data_file)
        for name, path in files.items():
            require_known("data_file", name, self.datasets)
            if not path:
                raise InvalidInputError(f"`data_file` must be NAME=PATH, got {name}")
        return {name: Path(path) for name, path in files.items()}


PRESETS = {
    "quick": LabelRateSweepOptions(
        preset="quick",
        study="label-rate-sweep-quick",
        label_rates=(0.01, 0.025),
        seeds=2,
        schedule=Schedule(iterations=300, log_every=50, evaluate_every=300, final_metrics=options.QUICK_METRICS),
    ),
    "laptop": LabelRateSweepOptions(
        preset="laptop",
        study="label-rate-sweep-laptop",
        seeds=3,
        schedule=Schedule(iterations=5_000, log_every=100, evaluate_every=1_000),
    ),
    "paper": LabelRateSweepOptions(
        preset="paper",
        study="label-rate-sweep-paper",
        datasets=("dsprites", "shapes3d", "isaac3d"),
        seeds=6,
        schedule=Schedule(iterations=1_000_000, log_every=1_000, evaluate_every=50_000),
    ),
}


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the sweep; the exit code."""
    chosen = options.parse(arguments, PRESETS, options.default_preset, __doc__ or "")
    if chosen.tau <= 0:
        raise InvalidInputError(f"`tau` must be > 0, to be compared with τ = 0, got {chosen.tau:g}")
    swept = {
        "seed": range(chosen.seeds),
        "dataset": chosen.datasets,
        "label_rate": chosen.label_rates,
        "regulariser": chosen.regularisers,
        "tau": (0.0, chosen.tau),
    }
    fixed = {name: value for name, value in chosen.shared_fields.items() if name != "tau"}
    study = grid(chosen.study, fixed, swept, chosen.schedule)
    from sweeps import runner  # late: it loads PyTorch and Ray, which `--help` and errors above need not

    return runner.run_study(study, chosen)


if __name__ == "__main__":
    sys.exit(options.main(run))
