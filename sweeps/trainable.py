"""The only bridge between larvae and Ray Tune: a trial trains a member and reports its rows."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from larvae import datasets
from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset, store
from larvae.errors import InvalidInputError
from larvae.member import MemberDirectory, Row, train_member
from larvae.training import can_compile

REPORT_SECONDS = 5.0
"""Rows are gathered for about so long before they are reported."""


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A data set's prepared file, for nodes that cannot render its images themselves."""

    path: Path
    """On the driver's node."""
    content: ray.ObjectRef | None
    """Its bytes in Ray's object store, for other nodes; None where there are none."""
    fingerprint: str
    """Names it in their caches: whatever else lies there, they train on these images."""

    def on_this_node(self, dataset: str) -> Path:
        """Where it is, fetched by the first trial that needs it."""
        if self.content is None or (self.path.exists() and store.read_header(self.path).sha256 == self.fingerprint):
            return self.path
        return datasets.install(f"{dataset}-{self.fingerprint[:12]}.h5", lambda: ray.get(self.content))


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """What all trials of a study share."""

    schedule: Schedule
    members_directory: Path
    """On a cluster, in a folder that all nodes share."""
    prepared_files: Mapping[str, PreparedFile]
    """By data set; those that nodes render themselves have none."""
    fingerprints: Mapping[str, str]
    """Of the study's images, by data set."""
    cpus: int
    gpus: float
    compile: bool


class MemberTrainable(tune.Trainable):
    """Trains the member `config["member"]`. A failure ends this member and is reported, not raised.

    Tune's own checkpoints are not used: a member's folder has its checkpoint, and a trial that is
    started again, by Tune or by tomorrow's command, goes on from there.
    """

    def setup(self, config: dict[str, Any], settings: TrialSettings) -> None:
        self.settings = settings
        torch.set_num_threads(settings.cpus)
        self.datasets: dict[str, Dataset] = {}
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another member; the process, its data and its compiled step are kept."""
        self.member = MemberConfig(**new_config["member"])
        self.directory = MemberDirectory(self.settings.members_directory / self.member.content_hash)
        self.history: list[Row] = []
        self.rows = self._train()
        return True

    def step(self) -> dict[str, Any]:
        """Train for some seconds. Reports `rows`, `status` (running, finished or failed) and `reason`."""
        started = time.monotonic()
        status, reason, reported = "running", "", len(self.history)
        try:
            while time.monotonic() - started < REPORT_SECONDS:
                self.history.append(next(self.rows))
        except StopIteration:
            status = "finished"
        except Exception as error:  # whatever it is, it is this member's alone, and must be told
            status, reason = "failed", f"{type(error).__name__}: {error}".partition("\n")[0]
            trace = traceback.format_exc()
            self.directory.write_result(self.member, status, self.history, reason, traceback=trace)
        rows = self.history[reported:]
        return {"rows": rows, "status": status, "reason": reason, "done": status != "running"}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        pass

    def _train(self) -> Iterator[Row]:
        """The member's rows; a generator, so that failures to open the data are the member's too."""
        on_gpu = self.settings.gpus > 0 and torch.cuda.is_available()
        yield from train_member(
            self.member,
            self.settings.schedule,
            self._dataset(self.member.dataset),
            self.directory,
            device="cuda" if on_gpu else "cpu",
            compiled=self.settings.compile and not on_gpu and can_compile(),
        )

    def _dataset(self, name: str) -> Dataset:
        """A data set, opened once: rendered on this node or fetched by the first trial that needs it."""
        if name not in self.datasets:
            file = self.settings.prepared_files.get(name)
            path = datasets.prepare(name) if file is None else file.on_this_node(name)
            dataset = datasets.open_dataset(name, path)
            if dataset.fingerprint != self.settings.fingerprints[name]:
                rule = f"`{path}` must hold the study's images, {self.settings.fingerprints[name]}"
                raise InvalidInputError(f"{rule}, got {dataset.fingerprint}: delete it on {platform.node()}")
            self.datasets[name] = dataset
        return self.datasets[name]
