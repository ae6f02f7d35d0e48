"""Times each metric on codes of 10,000 images (and of 5,000 more where it tests on others), one core.

The codes are labels mixed with each other and with noise, ten dimensions, with the factors of a data set.

    python benchmarks/metrics.py --output benchmarks/results/metrics.json
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import sklearn

from larvae import datasets
from larvae.datasets.factors import FactorGrid
from larvae.evaluation import metrics_of_sample
from larvae.files import save_json
from larvae.hardware import processor_name
from larvae.metrics import METRICS
from larvae.metrics.sample import Sample
from sweeps.tracking.provenance import git_commit

NUM_LATENTS = 10
OF_CODES = [name for name in METRICS if name not in ("traversal_error", "mig_aggregate")]
"""Metrics that need no model beside its codes."""


def make_sample(dataset: str, size: int) -> Sample:
    """Codes whose first dimensions are the factors' labels, each mixed with the others and with noise."""
    grid = datasets.specification(dataset).factors
    assert isinstance(grid, FactorGrid)
    generator = np.random.default_rng(0)
    classes = grid.classes(generator.choice(grid.num_images, size + size // 2, replace=False))
    mixing = np.eye(grid.num_factors, NUM_LATENTS) + 0.2 * generator.standard_normal((grid.num_factors, NUM_LATENTS))
    codes = grid.to_labels(classes) @ mixing + 0.3 * generator.standard_normal((len(classes), NUM_LATENTS))
    codes = codes.astype(np.float32)
    columns = list(range(grid.num_factors))
    return Sample(codes[:size], classes[:size], columns, grid, codes[size:], classes[size:])


def main() -> None:
    """Time, print a table, write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="dsprites")
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--metrics", nargs="+", default=OF_CODES, choices=OF_CODES)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    sample = make_sample(arguments.dataset, arguments.size)
    seconds = {}
    for name in arguments.metrics:
        started = time.perf_counter()
        values = metrics_of_sample(sample, [name], seed=0)
        seconds[name] = round(time.perf_counter() - started, 3)
        shown = "  ".join(f"{key} {value:.3f}" for key, value in values.items() if not key.startswith("rmse_"))
        print(f"{name:<18}{seconds[name]:>9.3f} s   {shown}", flush=True)
    if arguments.output:
        report = {
            "command": f"python benchmarks/metrics.py --dataset {arguments.dataset} --size {arguments.size}",
            "commit": git_commit(),
            "device": processor_name(),
            "versions": {"numpy": np.__version__, "scikit-learn": sklearn.__version__},
            "seconds": seconds,
        }
        save_json(arguments.output, report)


if __name__ == "__main__":
    main()
