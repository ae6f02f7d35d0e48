"""The preflight of a cluster as a whole: asks, judges and shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from larvae import datasets
from larvae.errors import InvalidInputError
from sweeps.preflight import gathering
from sweeps.preflight.checks import Demand, Finding, examine
from sweeps.preflight.findings_table import advise, in_common, in_one_line, nodes_table
from sweeps.preflight.gathering import Node
from sweeps.resources.missing_gpus import may_be_missing
from sweeps.tracking.tracker import require_reachable

MOST_ROWS = 40
"""Nodes that a table shows; of larger clusters, those that something is wrong with come first."""


class Inspection(NamedTuple):
    """The result of a preflight."""

    demand: Demand
    nodes: list[Node]
    findings: list[Finding]
    seconds: float

    @property
    def is_ready(self) -> bool:
        """True if a sweep may start."""
        return not any(finding.is_fatal for finding in self.findings)

    def show(self, console: Console) -> None:
        """The table, what it need not tell of each node, and advice."""
        concerned = {address for finding in self.findings for address in finding.nodes}
        rows = sorted(self.nodes, key=lambda node: node.address not in concerned)[:MOST_ROWS]
        same = in_common(self.nodes, self.findings, self.demand)
        console.print(nodes_table(rows, self.findings, self.demand, omitted=same))
        if left := len(self.nodes) - len(rows):
            console.print(f"and {left} more nodes")
        if same:
            console.print("In common: " + ", ".join(f"{column} {value}" for column, value in same.items()))
        advise(self.findings, console)
        console.print(self.summary())

    def summary(self) -> str:
        """The verdict on the nodes, in one line."""
        verdict = "ready" if self.is_ready else "not ready"
        count = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}"
        return f"Preflight: {count} {verdict} ({self.seconds:.0f} s)"


def inspect(demand: Demand, console: Console, *, asks_mlflow: bool = False) -> Inspection:
    """Ask every node of the cluster that this process has joined. Raises InvalidInputError.

    console: where nodes are told that take long. asks_mlflow: whether to find out if this process can write to MLflow,
    which a sweep has done before.
    """
    started = time.monotonic()
    nodes, driver = gathering.ask_nodes(demand.storage, demand.tracking_uri, demand.prepared, console.print)
    findings = _of_mlflow(demand.tracking_uri) if asks_mlflow else []
    findings += examine(nodes, driver, demand)
    return Inspection(demand, nodes, findings, time.monotonic() - started)


def require_ready(demand: Demand, console: Console) -> Inspection:
    """Inspect the cluster, tell what is wrong, and raise InvalidInputError where a sweep could not run on it."""
    inspection = inspect(demand, console)
    if inspection.is_ready and not inspection.findings:
        console.print(inspection.summary())
    else:
        inspection.show(console)
    if not inspection.is_ready:
        fatal = [finding for finding in inspection.findings if finding.is_fatal]
        raise InvalidInputError(f"the cluster must pass its preflight: {in_one_line(fatal)}")
    return inspection


def demand_of(storage: Path, tracking_uri: str, dataset_names: Sequence[str], cpus: int, gpus: float | None) -> Demand:
    """The demand that trials will make on their nodes. gpus: of each trial; None where a sweep measures it."""
    return Demand(
        storage=storage,
        tracking_uri=tracking_uri,
        prepared=tuple(datasets.cached_path(name).name for name in dataset_names),
        cpus=cpus,
        gpus=gpus or 0.0,
        gpus_may_be_missing=may_be_missing() or gpus == 0,
    )


def _of_mlflow(tracking_uri: str) -> list[Finding]:
    """Findings that keep the driver from writing to MLflow."""
    try:
        require_reachable(tracking_uri)
    except InvalidInputError as error:
        rule, _, advice = str(error).rpartition("; ")
        return [Finding("MLflow", (), rule or advice, advice if rule else "give --tracking-uri")]
    return []
