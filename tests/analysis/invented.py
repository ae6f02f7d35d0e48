"""Invented studies: as data frames, and logged as sweeps/tracking/tracker.py logs them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from larvae.config import FORMAT, MemberConfig
from sweeps.analysis.load import LOGGED_METRICS
from sweeps.tracking import mlflow_names
from sweeps.tracking.study_files import parameter_text


class Member(NamedTuple):
    """A member as the sweep's tracking would have logged it."""

    config: MemberConfig
    status: str = "FINISHED"
    reason: str = ""
    iterations: int = 1000
    effect: float = 0.0

    @property
    def mig(self) -> float:
        """Invented, but different for every configuration: 0.2 + τ/100 + η + seed/1000, and an effect if any."""
        return 0.2 + self.config.tau / 100 + self.config.label_rate + self.config.seed / 1000 + self.effect

    @property
    def l2(self) -> float:
        return 0.7 - self.mig


def grid(taus: Iterable[float], label_rates: Iterable[float], seeds: Iterable[int], **unchanged: Any) -> list[Member]:
    return [
        Member(MemberConfig(tau=tau, label_rate=rate, seed=seed, **unchanged))
        for tau in taus
        for rate in label_rates
        for seed in seeds
    ]


def with_ends(members: list[Member], ends: dict[tuple[float, float, int], tuple[str, str]]) -> list[Member]:
    """Replace status and reason of the members at (tau, label_rate, seed)."""
    return [
        member._replace(status=status, reason=reason)
        for member in members
        for status, reason in [
            ends.get((member.config.tau, member.config.label_rate, member.config.seed), (member.status, member.reason))
        ]
    ]


def frame(members: list[Member]) -> pd.DataFrame:
    """The frame that `load_members` gives for these members."""
    rows = [
        {
            "name": f"tau={m.config.tau:g} label_rate={m.config.label_rate:g} seed={m.config.seed}",
            "hash": m.config.content_hash,
            "status": m.status,
            "iterations": m.iterations,
            "reason": m.reason,
            **{name: str(value) if isinstance(value, list) else value for name, value in m.config.to_dict().items()},
            **dict.fromkeys(LOGGED_METRICS, math.nan),
            "mig": m.mig,
            "mig_y": m.mig,
            "mig_aligned": m.mig,
            "l2": m.l2,
        }
        for m in members
    ]
    return pd.DataFrame(rows)


def paired(
    baseline: Sequence[float], larvae: Sequence[float], label_rate: float = 0.01, **columns: object
) -> pd.DataFrame:
    """Members of one data set, regulariser and label rate with these values of MIG, ℓ2 being 1 − MIG; seeds 0, 1, …

    columns: other values of columns, for all members: data sets and regularisers need not be known to MemberConfig.
    """
    members = pd.concat(
        frame(grid((tau,), (label_rate,), range(len(values)))).assign(mig=values, l2=1 - np.array(values))
        for tau, values in ((0, baseline), (1, larvae))
    )
    unique = [f"{columns} {tau} {seed}" for tau, seed in zip(members["tau"], members["seed"], strict=True)]
    return members.assign(hash=unique, **columns).reset_index(drop=True)


def panels(*members: pd.DataFrame) -> pd.DataFrame:
    """One study of several `paired`."""
    return pd.concat(members, ignore_index=True)


MIXED = with_ends(
    grid((10, 0, 0.5), (0.02, 0.01), (0, 1)),
    {
        (0.5, 0.01, 1): ("FAILED", "NonFiniteLossError: loss is nan"),
        (10, 0.02, 0): ("KILLED", ""),
        (10, 0.02, 1): ("SCHEDULED", ""),
    },
)
"""3 values of tau, 2 label rates and 2 seeds, in no order; 9 of 12 members have finished."""

LABEL_RATES = [
    member._replace(effect=member.config.tau * (0.1 + 0.001 * seed * seed))
    for regulariser, gamma_tc in (("beta_vae", 3.0), ("beta_tcvae", 4.0))
    for seed in range(2)
    for member in grid((0, 1), (0.02, 0.01), (seed,), regulariser=regulariser, gamma_tc=gamma_tc)
]
"""LaRVAE is better by .11 and .111, at every label rate and with both regularisers."""

STUDIES = {
    "mixed": MIXED,
    "unfinished": [m._replace(status="FAILED", reason="killed") for m in grid((0, 1), (0.01,), (0,))],
    "latest-sweep": grid((0, 1, 5), (0.01,), (0,)),
    "label-rates": LABEL_RATES,
    "search": [member for tau in (0.3, 4) for member in grid((tau,), (0.01,), (0,), alpha=10 * tau)],
}
"""In the order in which they are logged."""


def make_experiment(client: MlflowClient, name: str) -> str:
    """A study's experiment, with its artifacts beside the database: by default they would lie where tests are run."""
    artifacts = Path(client.tracking_uri.removeprefix("sqlite:///")).with_name("artifacts") / name
    tags = {mlflow_names.FORMAT: str(FORMAT)}
    return str(client.create_experiment(name, artifact_location=artifacts.as_uri(), tags=tags))


def log_study(client: MlflowClient, name: str, members: list[Member]) -> None:
    """Log a study as sweeps/tracking/tracker.py does: a run for the study, a run a member that has begun."""
    experiment = make_experiment(client, name)
    study = client.create_run(experiment, run_name=name, tags={"larvae.role": "study"}).info.run_id
    rows = frame(members).to_dict("records")
    planned = {row["name"]: member.config.to_dict() for row, member in zip(rows, members, strict=True)}
    client.log_dict(study, {"study": name, "members": planned}, "study.json")
    for row, member in zip(rows, members, strict=True):
        if member.status == "SCHEDULED":
            continue
        tags = {"larvae.role": "member", "larvae.member": row["hash"], "larvae.iterations": str(member.iterations)}
        if member.reason:
            tags["larvae.reason"] = member.reason
        run = client.create_run(experiment, run_name=row["name"], tags=tags).info.run_id
        names = [metric for metric in LOGGED_METRICS if not math.isnan(row[metric])]
        last = member.iterations if member.status == "FINISHED" else member.iterations // 2
        points = [
            *[Metric(metric, 0.0, 0, last // 2) for metric in names],
            *[Metric(metric, row[metric], 0, last) for metric in names],
            *[Metric("seconds_per_iteration", 0.1, 0, step) for step in (last // 2, last)],
        ]
        parameters = [Param(key, parameter_text(value)) for key, value in member.config.to_dict().items()]
        client.log_batch(run, metrics=points, params=parameters)
        client.update_run(run, status=member.status)
