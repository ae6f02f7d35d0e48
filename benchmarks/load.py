"""The load of many short members: a real sweep of thousands that last an instant, on the real Ray, disk and MLflow.

    python benchmarks/load.py --members 200             # a minute
    python benchmarks/load.py --output benchmarks/results/load.json

Such a sweep is nothing but what surrounds training: trials that start and end, reports, files, runs in MLflow. It tells
what one member costs the driver, in processor time and memory, and what MLflow has of that; `scaling.py` tells how many
trials it serves at once.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

import psutil

from larvae.errors import InvalidInputError
from larvae.files import save_json
from sweeps import tau_sweep
from sweeps.analysis import script
from sweeps.tracking.mlflow_names import FINISHED
from sweeps.tracking.provenance import git_commit

if TYPE_CHECKING:
    from sweeps.tracking.tracker import Tracker

SEEDS = 10
LOOK_SECONDS = 0.5
TINY = (
    "--preset quick --study load --batch-size 4 --iterations 4 --log-every 2 --evaluate-every 4 --evaluation-size 200 "
    "--metrics mig l2 --final-metrics mig l2 --no-compile --gpus-per-trial 0"
)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Run a sweep of many members of four iterations, and tell what they cost its own process."""

    members: int = 2_000
    """Members of the sweep, a multiple of 10."""
    tracking_uri: str | None = None
    """MLflow to write to. Left out: an SQLite database in a temporary folder."""
    output: Path | None = None
    """JSON file that the numbers are written to."""

    def __post_init__(self) -> None:
        if self.members < SEEDS or self.members % SEEDS:
            raise InvalidInputError(f"`members` must be a positive multiple of {SEEDS}, got {self.members}")


class Watch:
    """Sees the most memory that this process holds, and the processor time of threads by their names."""

    def __init__(self) -> None:
        self.most_bytes = 0
        self.begun = 0.0
        """Processor seconds of this process when the first member was started."""
        self.in_mlflow = 0.0
        """Processor seconds of the main thread that went to MLflow at the start, which makes its database, and end."""
        self._seconds: dict[int, tuple[str, float]] = {}
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    def seconds_of(self, name: str) -> float:
        """Processor seconds of the threads of a name."""
        return sum(seconds for thread, seconds in self._seconds.values() if thread == name)

    def _look(self) -> None:
        process = psutil.Process()
        while True:
            self.most_bytes = max(self.most_bytes, process.memory_info().rss)
            names = {thread.native_id: thread.name for thread in threading.enumerate()}
            for thread in process.threads():
                name = names.get(thread.id, "another")
                self._seconds[thread.id] = name, thread.user_time + thread.system_time
            time.sleep(LOOK_SECONDS)

    def tracker(self) -> type[Tracker]:
        """The tracker's class, which tells when training begins and what its end takes."""
        from sweeps.tracking.tracker import Tracker

        watch = self

        class Timed(Tracker):
            def start(self, member: str) -> None:
                watch.begun = watch.begun or time.process_time()
                super().start(member)

            def close(self, *arguments: Any, **named: Any) -> bool:
                return watch.timed(super().close)(*arguments, **named)

        return Timed

    def timed(self, function: Callable[..., T]) -> Callable[..., T]:
        """A function that belongs to MLflow's share."""

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> T:
            started = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.in_mlflow += time.thread_time() - started

        return timed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, run, arguments)


def run(arguments: Arguments) -> None:
    """Sweep, and print and write what it took."""
    with tempfile.TemporaryDirectory(prefix="load-", ignore_cleanup_errors=True) as folder:
        uri = arguments.tracking_uri or f"sqlite:///{folder}/mlflow.db"
        numbers = measure(arguments.members, uri, folder)
    print(json.dumps(numbers, indent=1))
    if arguments.output:
        save_json(arguments.output, numbers)


def measure(members: int, uri: str, folder: str) -> dict[str, Any]:
    """Run one sweep; what it took."""
    from larvae.hardware import processor_name  # late: these load PyTorch and Ray, as the sweep does
    from sweeps import session
    from sweeps.tracking.tracker import require_own_experiment

    watch = Watch()
    taus = [f"{0.01 * k:g}" for k in range(members // SEEDS)]
    places = ["--tracking-uri", uri, "--storage-path", f"{folder}/results"]
    started = time.perf_counter()
    open_mlflow = watch.timed(require_own_experiment)
    with mock.patch.multiple(session, Tracker=watch.tracker(), require_own_experiment=open_mlflow):
        code = tau_sweep.run([*TINY.split(), "--seeds", str(SEEDS), "--label-rates", "0.01", "--taus", *taus, *places])
    seconds, busy = time.perf_counter() - started, time.process_time() - watch.seconds_of("watch")
    mlflow = watch.in_mlflow + watch.seconds_of("backlog")
    return {
        "members": members,
        "exit_code": code,
        "finished_in_mlflow": in_mlflow(uri),
        "start_processor_seconds": round(watch.begun, 1),
        "driver_milliseconds_a_member": round(1000 * (busy - mlflow) / members, 2),
        "mlflow_milliseconds_a_member": round(1000 * mlflow / members, 2),
        "peak_memory_gb": round(watch.most_bytes / 1e9, 3),
        "seconds": round(seconds, 1),
        "command": " ".join(["python", "benchmarks/load.py", *sys.argv[1:]]),
        "commit": git_commit(),
        "processor": processor_name(),
    }


def in_mlflow(uri: str) -> int:
    """The number of members that MLflow has as finished, with their metrics."""
    from sweeps.analysis.load import load_members

    members = load_members(uri, "load")
    return int(((members["status"] == FINISHED) & members[["mig", "l2"]].notna().all(axis=1)).sum())


if __name__ == "__main__":
    sys.exit(main())
