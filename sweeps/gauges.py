"""A study's state as Ray's own metrics, for Prometheus and Grafana."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ray import tune
from ray.util.metrics import Gauge

from sweeps.progress import StudyProgress

PUBLISH_SECONDS = 5.0
STATUSES = ("waiting", "running", "finished", "stopped", "failed")


class StudyGauges(tune.Callback):
    """Publishes how many members are in which state, the best MIG, and how fast they train.

    Ray exports them from each node with `ray_` before their names, at the port that `ray start` calls
    `--metrics-export-port`.
    """

    def __init__(self, study: str, progress: StudyProgress) -> None:
        self.progress = progress
        tags = {"study": study}
        self.members = Gauge("larvae_members", "Members by status.", ("study", "status"))
        self.members.set_default_tags(tags)
        self.best_mig = Gauge("larvae_best_mig", "Best MIG that a member has had.", ("study",))
        self.best_mig.set_default_tags(tags)
        self.speed = Gauge("larvae_iterations_per_second", "Iterations of all running members a second.", ("study",))
        self.speed.set_default_tags(tags)
        self.done = Gauge("larvae_iterations_done", "Iterations that all members have trained.", ("study",))
        self.done.set_default_tags(tags)
        self._published_at = -PUBLISH_SECONDS

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its callbacks to disk, and this one's work is never restored from there."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._published_at >= PUBLISH_SECONDS:
            self.publish()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self.publish()

    def publish(self) -> None:
        """Set all gauges to what is known now."""
        self._published_at = time.monotonic()
        status, latest = self.progress.status, self.progress.latest
        counts = Counter(status.values())
        for name in STATUSES:
            self.members.set(counts[name], {"status": name})
        migs = [row["mig"] for row in latest.values() if "mig" in row]
        migs += [row["held_out_mig"] for row in latest.values() if "mig" not in row and "held_out_mig" in row]
        if migs:
            self.best_mig.set(max(migs))
        running = (
            latest.get(name, {}).get("seconds_per_iteration") for name, what in status.items() if what == "running"
        )
        self.speed.set(sum(1 / seconds for seconds in running if seconds))
        self.done.set(sum(self.progress.done.values()))
