"""Runs of a study that MLflow has already, so that none is made twice."""

from __future__ import annotations

from typing import Any, NamedTuple

from sweeps.tracking import mlflow_names


class KnownRun(NamedTuple):
    """A run that an earlier command has made, or a request that got no answer."""

    run_id: str
    status: str
    has_configuration: bool
    was_stopped: bool
    """True if a search stopped it."""


def known_runs(client: Any, experiment: str) -> dict[str, KnownRun]:
    """Runs of the experiment by member's hash; the parent's under `study`."""
    runs: dict[str, KnownRun] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs |= {run.data.tags.get(mlflow_names.MEMBER, "study"): _known_run(run) for run in page}
        token = page.token
        if not token:
            return runs


def known_run(client: Any, experiment: str, member: str) -> KnownRun | None:
    """A member's run, by its hash, asked of MLflow anew."""
    found = client.search_runs([experiment], mlflow_names.tagged(mlflow_names.MEMBER, member), max_results=1)
    return _known_run(found[0]) if found else None


def is_there(client: Any, experiment: str, run: str) -> bool:
    """Tell whether a run can be written to: MLflow has it, and nobody has deleted it or its experiment."""
    return bool(client.search_runs([experiment], f"attributes.run_id = '{run}'", max_results=1))


def _known_run(run: Any) -> KnownRun:
    was_stopped = mlflow_names.STOPPED_AT in run.data.tags
    return KnownRun(run.info.run_id, run.info.status, bool(run.data.params), was_stopped)
