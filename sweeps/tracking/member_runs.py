"""Members' runs as MLflow has them: found, so that none is made twice, or made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sweeps.tracking import mlflow_names
from sweeps.tracking.pages import all_pages


class State(NamedTuple):
    """A member as the status and the tags of its run tell it."""

    status: str
    iterations: str
    """Iteration at which its training ends."""
    reason: str = ""
    stopped_at: str = ""
    directory: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The tags but the status; a rung where a search stopped it stays there."""
        tags = {
            mlflow_names.ITERATIONS: self.iterations,
            mlflow_names.REASON: self.reason,
            mlflow_names.DIRECTORY: self.directory,
        }
        return tags | ({mlflow_names.STOPPED_AT: self.stopped_at} if self.stopped_at else {})


@dataclass(slots=True)
class MemberRun:
    """A member's run, and how far it is."""

    run_id: str
    state: State
    has_configuration: bool = False
    last_step: int | None = None
    """Its last row's iteration; None where MLflow has not been asked yet."""
    rows_read: int = 0
    """Bytes of the member's rows that it has."""


def known_runs(client: Any, experiment: str) -> tuple[str | None, dict[str, MemberRun]]:
    """The experiment's runs: the study's own, if it is there, and members' by their hashes."""
    study, runs = None, {}
    for run in all_pages(client.search_runs, [experiment], max_results=1000):
        if member := run.data.tags.get(mlflow_names.MEMBER):
            runs[member] = _member_run(run)
        else:
            study = run.info.run_id
    return study, runs


def find_run(client: Any, experiment: str, member: str) -> MemberRun | None:
    """A member's run, by its hash, asked of MLflow anew."""
    found = client.search_runs([experiment], mlflow_names.tagged(mlflow_names.MEMBER, member), max_results=1)
    return _member_run(found[0]) if found else None


def is_there(client: Any, experiment: str, run: str) -> bool:
    """Tell whether a run can be written to: MLflow has it, and nobody has deleted it or its experiment."""
    return bool(client.search_runs([experiment], f"attributes.run_id = '{run}'", max_results=1))


def _member_run(run: Any) -> MemberRun:
    names = (mlflow_names.ITERATIONS, mlflow_names.REASON, mlflow_names.STOPPED_AT, mlflow_names.DIRECTORY)
    state = State(run.info.status, *(run.data.tags.get(name, "") for name in names))
    return MemberRun(run.info.run_id, state, has_configuration=bool(run.data.params))
