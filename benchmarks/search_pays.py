"""Comparison of TPE with early stopping, random search and the paper's grid of τ, at equal device seconds.

Every repetition has labelled sets and initialisations of its own, shared by the three. Training is real; all are
judged on held-out labels, and the MIG of whole data, which none of them sees, is reported beside. Device seconds are
those of all trials, stopped ones and compilation included, an iteration counting with the median of all studies: so
what else the machine does favours none. Kill it and start it again: it goes on from where it was.

    python benchmarks/search_pays.py --output benchmarks/results/search_pays.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from larvae.config import MemberConfig
from larvae.files import save_json
from larvae.hardware import processor_name
from sweeps import options, runner, search
from sweeps.adaptive.adaptive_study import AdaptiveStudy
from sweeps.adaptive.sampling import Suggestion
from sweeps.adaptive.search_runner import run_search
from sweeps.study import grid
from sweeps.tracking.provenance import git_commit

TAUS = (0.0, 0.1, 0.5, 1.0, 5.0, 10.0)
METHODS = ("TPE with early stopping", "random search", "grid of τ")
SEEDS_OF_THE_GRID = 2
SHARES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Repetition(AdaptiveStudy):
    """A search whose members have a repetition's own seeds."""

    offset: int = 0

    def member(self, suggestion: Suggestion, seed: int) -> MemberConfig:
        member = AdaptiveStudy.member(self, suggestion, seed)
        return dataclasses.replace(member, seed=self.offset + seed)


class Work(NamedTuple):
    """The work of a study when a row of one of its members was written."""

    timestamp: float
    iterations: float
    """Iterations of this row."""
    besides: float
    """Seconds of this row that were no training: compilation, evaluation."""


class Finished(NamedTuple):
    """A configuration's held-out MIG, its mean over the seeds so far, when a member of it has finished."""

    timestamp: float
    held_out_mig: float
    mig: float
    configuration: dict[str, float]


class Course(NamedTuple):
    """The course of a study, in the order of time."""

    work: list[Work]
    finished: list[Finished]
    seconds_per_iteration: list[float]

    def device_seconds(self, until: float, each: float) -> float:
        """Device seconds of all trials up to a time. each: seconds of an iteration."""
        return sum(w.iterations * each + w.besides for w in self.work if w.timestamp <= until)


def run_method(method: str, repetition: int, arguments: argparse.Namespace) -> Path:
    """Run one study, or go on with it; its folder."""
    name = f"pays-{('tpe', 'random', 'grid')[METHODS.index(method)]}-{repetition}"
    offset = 100 * repetition
    words = f"""--preset quick --study {name} --seeds 1 --iterations {arguments.iterations} --search-seed {repetition}
        --likelihood bernoulli
        --space tau=0.1:10:log:zero gamma_tc=1:20:log alpha=8:512:log --configurations {arguments.configurations}"""
    places = ["--storage-path", str(arguments.folder)]
    places += ["--tracking-uri", f"sqlite:///{(arguments.folder / 'mlflow.db').absolute()}"]
    chosen = options.parse([*words.split(), *places], search.PRESETS, options.default_preset, "")
    if method == "grid of τ":
        swept = {"seed": range(offset, offset + SEEDS_OF_THE_GRID), "tau": TAUS}
        code = runner.run_study(
            grid(name, {**chosen.model, "gamma_tc": 4.0, "alpha": 64.0}, swept, chosen.schedule), chosen
        )
    else:
        if method == "random search":
            number = len(TAUS) * SEEDS_OF_THE_GRID  # trains as long as the grid
            chosen = dataclasses.replace(chosen, sampler="random", stopper="none", configurations=number)
        code = run_search(Repetition(chosen, chosen.fixed_fields(chosen), offset))
    if code:
        raise SystemExit(code)
    return arguments.folder / name


def course_of(folder: Path) -> Course:
    """The course of a study, from its members' results."""
    results = [json.loads(path.read_text()) for path in folder.glob("members/*/result.json")]
    work, seconds = [], []
    for result in results:
        iteration = 0.0
        for row in result["history"]:
            first = iteration == 0  # it may have compiled: all its seconds count as they were
            iterations = 0 if first else row["iteration"] - iteration
            work.append(Work(row["timestamp"], iterations, row["seconds"] - iterations * row["seconds_per_iteration"]))
            iteration = row["iteration"]
        seconds += [row["seconds_per_iteration"] for row in result["history"][1:]]
    ended = [result for result in results if result["status"] == "finished"]
    seeds: dict[str, list[dict[str, float]]] = {}
    finished = []
    for result in sorted(ended, key=lambda result: result["history"][-1]["timestamp"]):
        where = {name: result["config"][name] for name in ("tau", "gamma_tc", "alpha")}
        rows = seeds.setdefault(json.dumps(where), [])
        rows.append(result["history"][-1])
        held_out, whole = (statistics.fmean(row[name] for row in rows) for name in ("held_out_mig", "mig"))
        finished.append(Finished(rows[-1]["timestamp"], held_out, whole, where))
    return Course(sorted(work), finished, seconds)


def best_until(course: Course, timestamp: float) -> Finished | None:
    """The configuration of the best latest mean among those that have finished by a time."""
    latest = {json.dumps(f.configuration): f for f in course.finished if f.timestamp <= timestamp}
    return max(latest.values(), key=lambda f: f.held_out_mig, default=None)


def curve_of(course: Course, each: float) -> list[tuple[float, Finished]]:
    """The best so far by device seconds, when a member has finished."""
    best = [(f.timestamp, best_until(course, f.timestamp)) for f in course.finished]
    return [(course.device_seconds(timestamp, each), b) for timestamp, b in best if b is not None]


def at_share(curves: Sequence[Sequence[tuple[float, Finished]]], seconds: float) -> dict[str, Any]:
    """The repetitions' best at some device seconds, and their means."""
    reached = [[best for at, best in curve if at <= seconds] for curve in curves]
    known = [best[-1] for best in reached if best]
    found: dict[str, Any] = {"device_seconds": round(seconds, 1)}
    for name in ("held_out_mig", "mig"):
        values = [getattr(best, name) for best in known]
        found |= {
            name: [round(v, 4) for v in values],
            f"mean_{name}": round(statistics.fmean(values), 4) if values else None,
        }
    return found | {"best": [best.configuration for best in known]}


def report(studies: dict[str, list[Path]], arguments: argparse.Namespace) -> dict[str, Any]:
    """All curves, and the best at shares of the device seconds that all studies have had."""
    courses = {method: [course_of(folder) for folder in folders] for method, folders in studies.items()}
    every = [course for runs in courses.values() for course in runs]
    each = statistics.median(s for course in every for s in course.seconds_per_iteration)
    budget = min(course.device_seconds(float("inf"), each) for course in every)
    found: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "commit": git_commit(),
        "processor": processor_name(),
        "seconds_per_iteration": round(each, 4),
        "device_seconds": round(budget, 1),
    }
    for method, runs in courses.items():
        curves = [curve_of(course, each) for course in runs]
        found[method] = {
            "at_shares": [at_share(curves, share * budget) for share in SHARES],
            "best_so_far": [[(round(at, 1), round(best.held_out_mig, 4)) for at, best in curve] for curve in curves],
        }
    return found


def main() -> None:
    """Run all studies, print a table, write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--configurations", type=int, default=28, help="of TPE with early stopping")
    parser.add_argument("--folder", type=Path, default=Path("results/search-pays"), help="for the studies")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    studies: dict[str, list[Path]] = {method: [] for method in METHODS}
    for repetition in range(arguments.repetitions):
        for method in METHODS:
            studies[method].append(run_method(method, repetition, arguments))
    found = report(studies, arguments)
    for method in METHODS:
        for row in found[method]["at_shares"]:
            means = f"held-out {row['mean_held_out_mig']}  MIG {row['mean_mig']}"
            print(f"{method:24} {row['device_seconds']:7.0f} s  {means}")
    if arguments.output:
        save_json(arguments.output, found)


if __name__ == "__main__":
    main()
