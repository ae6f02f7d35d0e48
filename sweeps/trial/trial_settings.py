"""The settings that all trials of a study share."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ray

from larvae import datasets
from larvae.config import Schedule
from larvae.errors import InvalidInputError

REPORT_SECONDS = 5.0
"""Seconds between two reports of a trial, where few run."""
LONG_ITERATIONS = 10_000
"""Iterations of trials that take minutes: each has its own process, by whose name people find it in Ray's dashboard."""


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A data set's prepared file, for nodes that cannot render its images themselves."""

    path: Path
    """Path on the driver's node."""
    content: ray.ObjectRef | None
    """Its bytes in Ray's object store, for other nodes; None where there are none."""
    fingerprint: str
    """Names it in their caches: whatever else lies there, they train on these images."""

    def on_this_node(self, dataset: str) -> Path:
        """The path of the file on this node, fetched by the first trial that needs it.

        Raises InvalidInputError where it has been altered, and there is nowhere to fetch it from.
        """
        if self.content is None:
            datasets.fingerprint(dataset, self.path)
            return self.path
        with contextlib.suppress(InvalidInputError):  # it is not here, or another one, or altered
            if datasets.fingerprint(dataset, self.path) == self.fingerprint:
                return self.path
        return datasets.install(dataset, self.fingerprint, lambda: ray.get(self.content))


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """The settings that all trials of a study share."""

    schedule: Schedule
    members_directory: Path
    """Folder of the members; on a cluster, in a folder that all nodes share."""
    prepared_files: Mapping[str, PreparedFile]
    """Prepared files by data set; those that nodes render themselves have none."""
    fingerprints: Mapping[str, str]
    """Fingerprints of the study's images, by data set."""
    cpus: int
    gpus: float
    compile: bool
    report_seconds: float = REPORT_SECONDS
    """Rows are gathered for about so long before they are reported, up to those with metrics of held-out labels."""
    command: str = ""
    """Names the command that trains the study now."""
    varied: tuple[str, ...] = ()
    """Fields that differ between members, by which people know them."""
    slots: int = 0
    """Members that a trial has room for, where a search hands it others while it runs; 0 where none does."""
    gpus_may_be_missing: bool = False
    """True if members train on a CPU where PyTorch finds no GPU behind the share that they hold: for tests."""

    @property
    def reuses_processes(self) -> bool:
        """True if trials follow each other in one process, which saves each two seconds, but they share its name."""
        return self.schedule.iterations < LONG_ITERATIONS
