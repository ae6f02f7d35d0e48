"""Invented studies: as data frames, and logged as sweeps/tracking.py logs them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from larvae.config import MemberConfig


class Member(NamedTuple):
    """A member as the sweep's tracking would have logged it."""

    config: MemberConfig
    status: str = "FINISHED"
    reason: str = ""
    iterations: int = 1000

    @property
    def mig(self) -> float:
        """Invented, but different for every configuration: 0.2 + τ/100 + η + seed/1000."""
        return 0.2 + self.config.tau / 100 + self.config.label_rate + self.config.seed / 1000

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
    """What `load_members` gives for these members."""
    rows = [
        {
            "name": f"tau={m.config.tau:g} label_rate={m.config.label_rate:g} seed={m.config.seed}",
            "hash": m.config.content_hash,
            "status": m.status,
            "iterations": m.iterations,
            "reason": m.reason,
            **m.config.to_dict(),
            "mig": m.mig,
            "mig_y": m.mig,
            "mig_aligned": m.mig,
            "l2": m.l2,
        }
        for m in members
    ]
    return pd.DataFrame(rows)


MIXED = with_ends(
    grid((10, 0, 0.5), (0.02, 0.01), (0, 1)),
    {
        (0.5, 0.01, 1): ("FAILED", "NonFiniteLossError: loss is nan"),
        (10, 0.02, 0): ("KILLED", ""),
        (10, 0.02, 1): ("SCHEDULED", ""),
    },
)
"""3 values of tau, 2 label rates and 2 seeds, in no order; 9 of 12 members have finished."""

STUDIES = {
    "mixed": MIXED,
    "unfinished": [m._replace(status="FAILED", reason="killed") for m in grid((0, 1), (0.01,), (0,))],
    "latest-sweep": grid((0, 1, 5), (0.01,), (0,)),
    "z-dim-sweep": [member for z_dim in (0, 5) for member in grid((1,), (0.01,), (0,), z_dim=z_dim)],
    "search": [member for tau in (0.3, 4) for member in grid((tau,), (0.01,), (0,), alpha=10 * tau)],
}
"""In the order in which they are logged."""


def log_study(client: MlflowClient, name: str, members: list[Member]) -> None:
    """Log a study as sweeps/tracking.py does: a run for the study, a run a member."""
    experiment = client.create_experiment(name)
    client.create_run(experiment, run_name=name, tags={"larvae.role": "study"})
    for row, member in zip(frame(members).to_dict("records"), members, strict=True):
        tags = {"larvae.role": "member", "larvae.member": row["hash"], "larvae.iterations": str(member.iterations)}
        if member.reason:
            tags["larvae.reason"] = member.reason
        run = client.create_run(experiment, run_name=row["name"], tags=tags).info.run_id
        names = ("mig", "mig_y", "mig_aligned", "l2")
        last = member.iterations if member.status == "FINISHED" else member.iterations // 2
        points = [
            *[Metric(metric, 0.0, 0, last // 2) for metric in names],
            *[Metric(metric, row[metric], 0, last) for metric in names],
            *[Metric("seconds_per_iteration", 0.1, 0, step) for step in (last // 2, last)],
        ]
        parameters = [Param(key, str(value)) for key, value in member.config.to_dict().items()]
        client.log_batch(run, metrics=[] if member.status == "SCHEDULED" else points, params=parameters)
        client.update_run(run, status=member.status)
