"""Invented adaptive searches: as records, and logged as sweeps/tracking/tracker.py logs them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from larvae.config import MemberConfig
from sweeps.adaptive.sampling import Sampler
from sweeps.adaptive.space import parse_space
from sweeps.analysis.load import LOGGED_METRICS
from sweeps.analysis.search.load_search import HELD_OUT, SearchRecord
from tests.analysis.invented import make_experiment

SPACE = ("tau=0.1:10:log:zero", "z_dim=1:10", "gamma_tc=1:20:log")
ITERATIONS = 900
RUNGS = (100, 300)
EVERY = 100
START = 1_700_000_000_000  # ms
MS_PER_ITERATION = 100


class Run(NamedTuple):
    """A member of a search, as tracking would have logged it."""

    configuration: int
    point: dict[str, Any]
    config: MemberConfig
    start: int
    """ms, when it began to train."""
    curve: tuple[tuple[float, float], ...]
    """Held-out MIG and ℓ2 at each evaluation, EVERY iterations apart."""
    status: str = "FINISHED"
    stopped_at: int | None = None
    reason: str = ""

    @property
    def iterations(self) -> int:
        return EVERY * len(self.curve)

    @property
    def final(self) -> dict[str, float]:
        """Metrics of the whole data; only a finished member has any."""
        if self.status != "FINISHED":
            return {}
        mig, l2 = self.curve[-1]
        return {"mig": mig + 0.01, "l2": l2 - 0.01}

    def time(self, iteration: int) -> int:
        return self.start + MS_PER_ITERATION * iteration


class InventedSearch(NamedTuple):
    """Contents of a search's experiment."""

    description: dict[str, Any]
    runs: list[Run]


def describe(parts: Sequence[str] = SPACE, objectives: Sequence[str] = ("mig",), **changed: Any) -> dict[str, Any]:
    """The tag `larvae.search`."""
    return {
        "space": parse_space(parts).to_dict(),
        "sampler": "tpe",
        "objectives": list(objectives),
        "iterations": ITERATIONS,
        "rungs": list(RUNGS),
        "reduction": 3,
        "first_seeds": 1,
        "seeds": 3,
        "configurations": 24,
        **changed,
    }


def run_of(
    number: int,
    point: dict[str, Any],
    seed: int,
    ends: tuple[float, float],
    start: int = START,
    parts: Sequence[str] = SPACE,
    **changed: Any,
) -> Run:
    """A member that comes linearly to its ends, held-out MIG and ℓ2, from .02 and .7; changed: fields of Run.

    A stopped or failed one ends with the last iteration of `until`, by default the rung or half of the way.
    """
    until = changed.pop("until", changed.get("stopped_at") or (ITERATIONS if "status" not in changed else 400))
    shares = np.arange(EVERY, until + 1, EVERY) / ITERATIONS
    curve = tuple((0.02 + (ends[0] - 0.02) * share, 0.7 + (ends[1] - 0.7) * share) for share in shares.tolist())
    config = MemberConfig(**parse_space(parts).fields(point), seed=seed, held_out=0.1)
    return Run(number, point, config, start, curve, **changed)


def small(objectives: Sequence[str] = ("mig",)) -> InventedSearch:
    """Six configurations by hand: 0 and 1 finished with seeds, 2 finished, 3 stopped, 4 failed, 5 trains."""

    def point(tau: float, z_dim: int, gamma_tc: float) -> dict[str, Any]:
        return {"tau": tau, "z_dim": z_dim, "gamma_tc": gamma_tc}

    minute = 60_000
    runs = [
        run_of(0, point(1.0, 5, 4.0), 0, (0.30, 0.40)),
        run_of(0, point(1.0, 5, 4.0), 1, (0.20, 0.44), START + 3 * minute),
        run_of(1, point(0.08, 2, 10.0), 0, (0.28, 0.50), START + 2 * minute),
        run_of(1, point(0.08, 2, 10.0), 1, (0.26, 0.52), START + 4 * minute),
        run_of(1, point(0.08, 2, 10.0), 2, (0.27, 0.51), START + 6 * minute),
        run_of(2, point(10.0, 10, 1.0), 0, (0.10, 0.60), START + 6 * minute),
        run_of(3, point(5.0, 9, 2.0), 0, (0.90, 0.10), START + minute, status="KILLED", stopped_at=100, until=200),
        run_of(4, point(3.0, 1, 20.0), 0, (0.80, 0.10), START + 7 * minute, status="FAILED", reason="loss is nan"),
        run_of(5, point(0.3, 4, 5.0), 0, (0.70, 0.10), START + 8 * minute, status="RUNNING"),
    ]
    return InventedSearch(describe(objectives=objectives), runs)


def realistic(objectives: Sequence[str] = ("mig",), configurations: int = 36) -> InventedSearch:
    """A search of random suggestions with stops at rungs, seeds for the best and a failure; two jobs at a time.

    MIG is best at τ = 2, ℓ2 at the largest τ.
    """
    rng = np.random.default_rng(0)
    sampler = Sampler(kind="random", space=parse_space(SPACE), objectives=tuple(objectives), seed=0)
    runs: list[Run] = []
    free = [START, START]  # when each job's place is free

    def train(number: int, point: dict[str, Any], seed: int) -> None:
        fields = parse_space(SPACE).fields(point)
        strength, gamma = math.log10(max(fields["tau"], 0.05)), math.log10(fields["gamma_tc"])
        mig = 0.34 - 0.10 * (strength - 0.3) ** 2 - 0.06 * (gamma - 0.8) ** 2 - 0.004 * abs(fields["z_dim"] - 4)
        noise = rng.normal(0, 0.012, 2)
        stopped = {"status": "KILLED", "stopped_at": RUNGS[number % 2]} if mig < 0.26 and number % 4 else {}
        end = {"status": "FAILED", "reason": "NonFiniteLossError: loss is nan"} if number == 9 else stopped
        ends = (mig + noise[0], 0.42 - 0.09 * strength + 0.05 * gamma**2 + noise[1])
        runs.append(run_of(number, point, seed, ends, min(free), **end))
        free[free.index(min(free))] += MS_PER_ITERATION * runs[-1].iterations

    for number in range(configurations):
        train(number, dict(sampler.suggest(number, []).point), 0)
    finished = sorted((run for run in runs if run.status == "FINISHED"), key=lambda run: -run.curve[-1][0])
    for place, first in enumerate(finished[: len(finished) // 2]):
        for extra in range(1, 3 if place < 4 else 2):
            train(first.configuration, first.point, extra)
    return InventedSearch(describe(objectives=objectives, configurations=configurations), runs)


def record(invented: InventedSearch, study: str = "search-quick") -> SearchRecord:
    """The record that `load_search` gives."""
    rows, evaluations = [], []
    for run in invented.runs:
        name = run.config.content_hash
        rows.append(
            {
                "name": f"configuration {run.configuration} seed {run.config.seed}",
                "hash": name,
                "directory": "",
                "status": run.status,
                "iterations": run.iterations,
                "reason": run.reason,
                **{k: str(v) if isinstance(v, list) else v for k, v in run.config.to_dict().items()},
                **dict.fromkeys(LOGGED_METRICS, math.nan),
                **run.final,
                "configuration": run.configuration,
                "point": run.point,
                "stopped_at": float(run.stopped_at or "nan"),
                "started_at": float("nan" if run.status == "SCHEDULED" else run.start),
                "ended_at": float("nan" if run.status in ("RUNNING", "SCHEDULED") else run.time(run.iterations)),
            }
        )
        for place, values in enumerate(run.curve, start=1):
            shown = {"hash": name, "iteration": place * EVERY, "time": run.time(place * EVERY)}
            evaluations.append(shown | dict(zip(HELD_OUT, values, strict=True)))
    columns = ["hash", "iteration", "time", *HELD_OUT]
    return SearchRecord(
        study, invented.description, pd.DataFrame(rows), pd.DataFrame(evaluations).reindex(columns=columns)
    )


def log_search(client: MlflowClient, name: str, invented: InventedSearch) -> None:
    """Log a search as sweeps/tracking/tracker.py does: a run for the study with its description, a run a member."""
    experiment = make_experiment(client, name)
    tags = {"larvae.role": "study", "larvae.search": json.dumps(invented.description)}
    client.create_run(experiment, run_name=name, tags=tags)
    for run in invented.runs:
        tags = {
            "larvae.role": "member",
            "larvae.member": run.config.content_hash,
            "larvae.iterations": str(ITERATIONS),
            "larvae.configuration": str(run.configuration),
            "larvae.point": json.dumps(run.point),
            "larvae.reason": run.reason,
        }
        if run.stopped_at:
            tags["larvae.stopped_at"] = str(run.stopped_at)
        title = f"configuration {run.configuration} seed {run.config.seed}"
        run_id = client.create_run(experiment, run_name=title, tags=tags).info.run_id
        parameters = [Param(key, str(value)) for key, value in run.config.to_dict().items()]
        client.log_batch(run_id, metrics=_points(run), params=parameters)
        client.update_run(run_id, status="RUNNING")
        if run.status != "RUNNING":
            client.set_terminated(run_id, run.status)  # now, long after it ended, as after an outage


def _points(run: Run) -> list[Metric]:
    points = []
    for place, values in enumerate(run.curve, start=1):
        row = dict(zip(HELD_OUT, values, strict=True)) | {"seconds_per_iteration": MS_PER_ITERATION / 1000, "loss": 1.0}
        if place == len(run.curve):
            row |= run.final
        points += [Metric(name, value, run.time(place * EVERY), place * EVERY) for name, value in row.items()]
    return points


def of_tau(*ends: dict[str, Any]) -> InventedSearch:
    """A search over τ alone, a configuration an element: fields of Run."""
    parts, taus = ("tau=0.1:10:log:zero",), (1.0, 0.08, 2.0)
    runs = [run_of(n, {"tau": taus[n]}, 0, (0.1 + n / 10, 0.5), parts=parts, **end) for n, end in enumerate(ends)]
    return InventedSearch(describe(parts), runs)


SEARCHES = {
    "two-objectives": small(("mig", "l2")),
    "one-finished": of_tau({}, {"status": "KILLED", "stopped_at": 100}),
    "none-finished": of_tau({"status": "RUNNING"}, {"status": "SCHEDULED", "until": 0}),
    "over-tau": of_tau({}, {}, {}),
}
"""In the order in which they are logged."""
