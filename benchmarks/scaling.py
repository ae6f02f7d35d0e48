"""The trials that one driver can serve: the real driver, from Ray Tune's controller to MLflow, with simulated trials.

Up to 1,000 nodes × 8 GPUs × 6 trials = 48,000 trials at once, on any machine: everything that runs in a sweep's own
process is real (sweeps/driver/ and Tune, the reporter, progress, MLflow's client), and what runs on other nodes is
simulated (`simulation/`). Each point is one process:

    python benchmarks/scaling.py --trials 48 480                     # prints what it measures, takes a minute
    python benchmarks/scaling.py --trials 600 --members-per-trial 8  # 4,800 members, eight fused in each trial
    python benchmarks/scaling.py --trials 480 --mlflow sqlite        # with a real database, see the figures of MLflow
    python benchmarks/scaling.py --trials 480 --mlflow http://127.0.0.1:5000
    python benchmarks/scaling.py --trials 48 480 4800 48000 --output benchmarks/results/scaling.json --label now

busy_share: processor seconds of the driver's process for each second that passes. Near 1 it has no time left.
trial_waiting_share: of the trials' time, what they wait for the driver between two reports.
results_per_second: reports that it could take, with nothing else to do. All are of the time in which all trials run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # on a machine that does much else

import ray
from rich.console import Console
from simulation import ray_costs
from simulation.cluster import SimulatedCluster
from simulation.trials import ITERATIONS_PER_ROW, Load
from simulation.writing import CountingClient, WriterInSimulatedTime

from larvae.config import Schedule
from larvae.files import save_json
from larvae.hardware import processor_name
from sweeps.console.progress import StudyProgress
from sweeps.driver import connection, tuner
from sweeps.driver.many_trials import report_seconds
from sweeps.driver.member_reporter import MemberReporter
from sweeps.resources.shares import TrialResources
from sweeps.study import Study, StudyDirectory, grid
from sweeps.tracking import tracker as writer
from sweeps.tracking.provenance import git_commit
from sweeps.tracking.tracker import Tracker
from sweeps.trial.trial_settings import TrialSettings


def arguments_of(command_line: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[48, 480], help="trials at once; a point each")
    parser.add_argument("--members-per-trial", type=int, nargs="+", default=[1], help="members fused in each trial")
    parser.add_argument("--waves", type=float, default=1.25, help="trials of the study, by trials at once")
    parser.add_argument("--rows", type=int, default=60, help="rows that each member reports until it is finished")
    parser.add_argument("--row-seconds", type=float, default=5.0, help="between two rows of a member, median")
    parser.add_argument("--evaluate-every", type=int, default=10, help="rows between evaluations")
    parser.add_argument("--preempted", type=float, default=0.001, help="share of reports before which a process dies")
    parser.add_argument("--failed", type=float, default=0.01, help="share of members whose loss turns NaN")
    parser.add_argument("--most-results", type=int, help="stop the study after so many reports, by Ctrl-C")
    parser.add_argument(
        "--mlflow", default="none", help="none (a client that only counts), sqlite, or http://HOST:PORT"
    )
    parser.add_argument("--folder", type=Path, help="of the study and its database; a temporary one, if left out")
    parser.add_argument(
        "--ray-costs",
        type=float,
        nargs=3,
        metavar=("TASK", "ACTOR", "WAITING"),
        help="seconds of Ray's calls, where they are not to be measured: see simulation/ray_costs.py",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", default="now", help="under which the points are written to --output")
    parser.add_argument("--output", type=Path, help="JSON to add the points to")
    return parser.parse_args(command_line)


def main(command_line: list[str] | None = None) -> None:
    """Measure all points, each in a process of its own if there are several."""
    arguments = arguments_of(command_line)
    combinations = [(trials, members) for trials in arguments.trials for members in arguments.members_per_trial]
    for trials, members in combinations:
        if len(combinations) > 1:
            each = ["--trials", str(trials), "--members-per-trial", str(members)]
            subprocess.run([sys.executable, __file__, *(command_line or sys.argv[1:]), *each], check=True)
            continue
        point = measure(arguments, trials, members)
        print(json.dumps(point, indent=1))
        if arguments.output:
            write(point, arguments)


def measure(arguments: argparse.Namespace, trials: int, members_per_trial: int) -> dict[str, Any]:
    """Run one study with simulated trials; what it took."""
    connection.start_local(num_cpus=1, include_dashboard=False)
    names = ("rows", "row_seconds", "evaluate_every", "preempted", "failed", "seed")
    load = Load(trials=trials, **{name: getattr(arguments, name) for name in names})
    try:
        costs = ray_costs.RayCosts(*arguments.ray_costs) if arguments.ray_costs else ray_costs.measure()
        with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
            return Simulation(arguments, load, costs, members_per_trial, arguments.folder or Path(folder)).run()
    finally:
        ray.shutdown()


class Used(NamedTuple):
    """The amounts that a study has used so far."""

    simulated: float
    """Seconds that have passed."""
    busy: float
    """Seconds of these in which the driver's process has computed, or waited for MLflow."""
    writing: float
    """Seconds that the threads that write to MLflow were at it."""
    writers_busy: float
    """Seconds that they have computed."""
    results: int
    waited: float
    trained: float
    requests: int
    points: int


class Simulation:
    """One study with simulated trials."""

    def __init__(
        self, arguments: argparse.Namespace, load: Load, costs: ray_costs.RayCosts, members_per_trial: int, folder: Path
    ) -> None:
        self.arguments, self.load, self.costs = arguments, load, costs
        self.members_per_trial, self.folder = members_per_trial, folder
        self.study = simulated_study(round(load.trials * members_per_trial * arguments.waves), load.rows)
        self.directory = StudyDirectory(folder / "study")
        self.cluster = SimulatedCluster(load, costs, self.report_seconds, self.directory)
        client = None if arguments.mlflow == "none" else writer.MlflowClient  # type: ignore[attr-defined]
        self.client = CountingClient(self.cluster.clock, client)
        self.writer: WriterInSimulatedTime | None = None
        self.all_run: Used | None = None
        self.still_run: Used | None = None
        """Two reports of every trial later, or when the first ones end."""

    def report_seconds(self) -> float:
        """Seconds that trials gather rows before they report them."""
        return report_seconds(self.load.trials)

    def used(self) -> Used:
        clock, seen = self.cluster.clock, self.cluster.seen
        return Used(
            clock.now(),
            clock.busy,
            self.writer.seconds if self.writer else 0.0,
            self.writer.processor_seconds if self.writer else 0.0,
            seen.results,
            seen.waited,
            seen.trained,
            self.client.calls.total(),
            self.client.points,
        )

    def look(self) -> float | None:
        """Called whenever the driver waits."""
        seen = self.cluster.seen
        if self.all_run is None and seen.most_running == self.load.trials:
            self.all_run = self.used()
        if self.all_run is not None and self.still_run is None:
            some_have_ended = seen.running < 0.95 * self.load.trials
            if some_have_ended or seen.results - self.all_run.results >= 2 * self.load.trials:
                self.still_run = self.used()
        return self.writer.send_when_free() if self.writer else None

    def is_over(self) -> bool:
        most = self.arguments.most_results
        return most is not None and self.cluster.seen.results >= most

    def run(self) -> dict[str, Any]:
        """Run it; what it took."""
        writer.MlflowClient = self.client  # type: ignore[attr-defined]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster.on_wait, self.cluster.is_over = self.look, self.is_over
        wall, start = time.perf_counter(), self.used()
        with self.cluster.installed():
            tracker = Tracker(self.uri(), self.study, self.directory, {"dsprites": "simulated"}, {})
            made = self.used()
            self.writer = WriterInSimulatedTime(tracker, self.cluster.clock)
            interrupted = self.train(tracker)
            trained = self.used()
            self.writer.let_go()
            is_complete = tracker.close("stopped" if interrupted else "finished")
        closed = self.used()
        steady = (self.all_run or made, self.still_run or trained)
        return self.point(start, made, steady, trained, closed) | {
            "interrupted": interrupted,
            "mlflow_has_everything": is_complete,
            "wall_seconds": round(time.perf_counter() - wall, 1),
        }

    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}" if self.arguments.mlflow == "sqlite" else self.arguments.mlflow

    def train(self, tracker: Tracker) -> bool:
        """Train all members, as sweeps/runner.py does; True if it was stopped."""
        labels = {member.content_hash: self.study.label(member) for member in self.study.members}
        iterations, slots = self.study.schedule.iterations, self.load.trials * self.members_per_trial
        resources = TrialResources(1, 1 / 6, self.members_per_trial)
        members, data = self.directory.path / "members", {"dsprites": "simulated"}
        settings = TrialSettings(self.study.schedule, members, {}, data, resources.cpus, resources.gpus, compile=False)
        with (self.folder / "progress.txt").open("w") as file:
            console = Console(file=file, width=160)
            with StudyProgress(labels, iterations, slots, console) as progress:
                reporter = MemberReporter(tracker, progress, self.directory)
                return tuner.train_all(self.study.members, settings, resources, self.directory, reporter, console)

    def point(self, start: Used, made: Used, steady: tuple[Used, Used], trained: Used, closed: Used) -> dict[str, Any]:
        """The point to write of the study."""
        begun, went = steady
        seconds, results = went.simulated - begun.simulated, went.results - begun.results
        busy = went.busy - begun.busy + went.writers_busy - begun.writers_busy
        trial_seconds = went.waited - begun.waited + went.trained - begun.trained
        return {
            "trials": self.load.trials,
            "members_per_trial": self.members_per_trial,
            "members": len(self.study.members),
            "mlflow": self.arguments.mlflow.partition(":")[0],
            "report_seconds": round(self.report_seconds(), 1),
            "runs_made_seconds": round(made.simulated - start.simulated, 2),
            "trials_started_seconds": round(begun.simulated - made.simulated, 1),
            "milliseconds_per_result": round(1000 * busy / max(1, results), 3),
            "results_per_second": round(results / max(1e-9, busy), 1),
            "busy_share": round(busy / max(1e-9, seconds), 4),
            "trial_waiting_share": round((went.waited - begun.waited) / max(1e-9, trial_seconds), 4),
            "mlflow_requests_per_second": round((went.requests - begun.requests) / max(1e-9, seconds), 2),
            "mlflow_points_per_second": round((went.points - begun.points) / max(1e-9, seconds), 1),
            "mlflow_writing_share": round((went.writing - begun.writing) / max(1e-9, seconds), 4),
            "closed_seconds": round(closed.simulated - trained.simulated, 2),
            "results": closed.results,
            "preempted": self.cluster.seen.preempted,
            "points": closed.points,
            "requests": closed.requests,
            "simulated_seconds": round(closed.simulated, 1),
            "processor_seconds": round(time.process_time(), 1),
            "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
            "ray_costs": {name: round(value, 8) for name, value in self.costs._asdict().items()},
        }


def simulated_study(num_members: int, rows: int) -> Study:
    """A study of so many members."""
    schedule = Schedule(iterations=rows * ITERATIONS_PER_ROW, log_every=ITERATIONS_PER_ROW)
    seeds = min(8, num_members)
    taus = tuple(round(0.01 * k, 2) for k in range(-(-num_members // seeds)))
    study = grid("scaling", {"batch_size": 64}, {"tau": taus, "seed": tuple(range(seeds))}, schedule)
    return Study(study.name, study.members[:num_members], schedule, study.fixed, study.varied)


def write(point: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Add a point to the results, in the place of an earlier one of the same kind."""
    path = arguments.output
    results = json.loads(path.read_text()) if path.exists() else {"points": []}
    point = {
        "label": arguments.label,
        **point,
        "commit": git_commit(),
        "command": " ".join(["python", "benchmarks/scaling.py", *sys.argv[1:]]),
        "processor": processor_name(),
    }
    kind = ("label", "trials", "members_per_trial", "mlflow")
    others = [other for other in results["points"] if any(other[name] != point[name] for name in kind)]
    save_json(path, {"points": [*others, point]})


if __name__ == "__main__":
    main()
