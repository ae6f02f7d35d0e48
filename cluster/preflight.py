"""Asks every node of a running Ray cluster whether a sweep can run there.

A row a node, and a line of advice for whatever is wrong. Every sweep with --address begins with it.

    python -m cluster.preflight --address auto --storage-path /shared/larvae --tracking-uri http://mlflow:5000
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from larvae import command_line, datasets
from sweeps.console.tracking_uri import TrackingUri
from sweeps.options import require_cpus, require_gpus, require_storage_folder
from sweeps.tracking.addresses import default_uri, take_passwords_off_command_line


@dataclass(frozen=True, kw_only=True, slots=True)
class PreflightOptions:
    """The options that a sweep would be given."""

    address: str = "auto"
    """Ray cluster to join: auto, on one of its nodes, or HOST:PORT."""
    storage_path: Path = Path("results")
    """Folder of checkpoints and results, which all nodes must share."""
    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow: a database on this machine, or http://HOST:PORT of a server."""
    datasets: tuple[str, ...] = ("dsprites",)
    """Data sets that trials will need."""
    cpus_per_trial: int = 1
    """CPUs of each trial."""
    gpus_per_trial: float | None = None
    """GPUs of each trial, e.g. 0.25; 0 where trials shall use none. Left out, a sweep measures it."""

    def require_valid(self) -> None:
        """Raise InvalidInputError for what no cluster could do."""
        for name in self.datasets:
            datasets.specification(name)
        require_cpus(self.cpus_per_trial)
        require_gpus(self.gpus_per_trial or 0.0)
        require_storage_folder(self.storage_path)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and inspect the cluster; 0 where a sweep can run on it, 1 where it can't."""
    options = command_line.parse(lambda: tyro.cli(PreflightOptions, args=list(arguments), description=__doc__))
    options.require_valid()
    from sweeps.console.terminal import new_console
    from sweeps.driver import connection  # late: it loads Ray, which `--help` and errors above need not
    from sweeps.preflight.inspection import demand_of, inspect

    storage, cpus, gpus = options.storage_path, options.cpus_per_trial, options.gpus_per_trial
    demand = demand_of(storage, options.tracking_uri, options.datasets, cpus, gpus)
    connection.connect(options.address)
    console = new_console()
    inspection = inspect(demand, console, asks_mlflow=True)
    inspection.show(console)
    return 0 if inspection.is_ready else 1


if __name__ == "__main__":
    take_passwords_off_command_line()
    sys.exit(command_line.run(lambda: run(sys.argv[1:])))
