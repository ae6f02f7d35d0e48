"""A study's state as Ray's own metrics, for Prometheus and Grafana."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ray import tune
from ray.util.metrics import Gauge

from larvae.metrics import held_out
from sweeps.console.progress import StudyProgress
from sweeps.driver.workarounds.unsaved import Unsaved

PUBLISH_SECONDS = 5.0
STATUSES = ("waiting", "running", "finished", "stopped", "failed")


class StudyGauges(Unsaved, tune.Callback):
    """Publishes how many members are in which state, the best MIG, and how fast they train.

    Ray exports them from each node with `ray_` before their names, at the port that `ray start` calls
    `--metrics-export-port`.
    """

    def __init__(self, study: str, progress: StudyProgress) -> None:
        self.progress = progress

        def gauge(name: str, description: str, *tags: str) -> Gauge:
            made = Gauge(name, description, ("study", *tags))
            made.set_default_tags({"study": study})
            return made

        self.members = gauge("larvae_members", "Members by status.", "status")
        self.best_mig = gauge("larvae_best_mig", "Best MIG of all members as they were last evaluated.")
        self.speed = gauge("larvae_iterations_per_second", "Iterations of all running members a second.")
        self.done = gauge("larvae_iterations_done", "Iterations that all members have trained.")
        self._published_at = -PUBLISH_SECONDS

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
        migs = [row.get("mig", row.get(held_out("mig"))) for row in latest.values()]
        if known := [mig for mig in migs if mig is not None]:
            self.best_mig.set(max(known))
        running = (
            latest.get(name, {}).get("seconds_per_iteration") for name, what in status.items() if what == "running"
        )
        self.speed.set(sum(1 / seconds for seconds in running if seconds))
        self.done.set(sum(self.progress.done.values()))
