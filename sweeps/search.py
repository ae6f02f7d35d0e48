"""Tunes τ, the dimension of z, γ_tc and more on held-out labels, with Optuna's samplers and early stopping.

Suggests configurations, stops those that lose at a rung, and gives the best ones more seeds; a configuration is
judged by its mean over seeds. The same command again goes on from where it stopped.

    python sweeps/search.py                          minutes on two cores
    python sweeps/search.py --plan                   what it would cost, training nothing
    python sweeps/search.py --space tau=0.1:10:log:zero alpha=0.25:64:log --sampler gp
    python sweeps/search.py --objectives mig l2      a Pareto front
    python sweeps/search.py --address auto           on a running Ray cluster
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from larvae.config import Schedule
from sweeps import options
from sweeps.adaptive.adaptive_study import AdaptiveStudy
from sweeps.adaptive.search_options import SearchOptions
from sweeps.console.terminal import LOADING, working

PRESETS = {
    "quick": SearchOptions(
        preset="quick",
        study="search-quick",
        configurations=24,
        first_rung=100,
        seeds=3,
        schedule=Schedule(iterations=900, log_every=50, evaluate_every=100, final_metrics=("mig", "l2"), metrics=()),
    ),
    "laptop": SearchOptions(
        preset="laptop",
        study="search-laptop",
        configurations=60,
        first_rung=500,
        seeds=3,
        schedule=Schedule(iterations=10_000, log_every=100, evaluate_every=500, metrics=()),
    ),
    "paper": SearchOptions(
        preset="paper",
        study="search-paper",
        configurations=200,
        first_rung=30_000,
        seeds=6,
        schedule=Schedule(iterations=1_000_000, log_every=1_000, evaluate_every=10_000, metrics=()),
    ),
}


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the search; the exit code."""
    chosen = options.parse(arguments, PRESETS, options.default_preset, __doc__ or "")
    study = AdaptiveStudy(chosen, chosen.fixed_fields(PRESETS[chosen.preset]))
    options.require_free(chosen)
    with working(LOADING):
        from sweeps.adaptive import search_runner  # late: `--help` and errors above need not

    return search_runner.run_search(study)


if __name__ == "__main__":
    sys.exit(options.main(run))
