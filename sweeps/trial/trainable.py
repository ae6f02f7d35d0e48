"""The only bridge between larvae and Ray Tune: a worker as a trial that Tune starts."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune

from larvae.config import MemberConfig
from sweeps.study import label
from sweeps.trial.mailbox import Mailbox
from sweeps.trial.trial_settings import TrialSettings
from sweeps.trial.worker import Worker


class MemberTrainable(tune.Trainable):
    """Trains the members `config["members"]`, and those that come by its mailbox, if it has one.

    What is the machine's fault is raised: Tune starts the trial again.

    Tune's own checkpoints are not used: a trial that is started again goes on from its members' checkpoints.
    """

    def setup(self, config: dict[str, Any], settings: TrialSettings) -> None:
        self.worker = Worker(settings, config.get("place", {}).get("gpus"))
        self.reset_config(config)
        if threading.current_thread() is threading.main_thread():
            self._end_process = signal.signal(signal.SIGTERM, self._save_and_end)

    def _save_and_end(self, number: int, frame: FrameType | None) -> None:
        """A machine that is taken away, or the scheduler of a cluster, tells its processes so."""
        self.worker.close()
        if callable(self._end_process):
            self._end_process(number, frame)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on other members in the same process."""
        mailbox = Mailbox(Path(new_config["mailbox"])) if "mailbox" in new_config else None
        self.worker.take_on([MemberConfig.from_dict(fields) for fields in new_config["members"]], mailbox)
        return True

    def __repr__(self) -> str:
        """The name of this process in Ray's dashboard, from its start to its end: its trial, where it has only one."""
        if not hasattr(self, "worker"):  # Ray names it in the error of a start that fails, and would die of another
            return type(self).__name__
        settings = self.worker.settings
        if settings.reuses_processes:
            return type(self).__name__
        first, *more = self.worker.open.values()
        name = f"{label(first, settings.varied)} ({first.content_hash})"
        return f"{name} and {len(more)} more" if more else name

    def step(self) -> dict[str, Any]:
        """Report the worker's news."""
        return self.worker.step()

    def cleanup(self) -> None:
        """Tune ends the trial: what is open is saved."""
        self.worker.close()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        pass
