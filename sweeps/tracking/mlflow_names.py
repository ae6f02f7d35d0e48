"""Names by which sweeps/tracking/tracker.py writes runs to MLflow and sweeps/analysis/load.py finds them again.

Databases hold these tags: a name that changes, or its meaning, needs another number of `larvae.config.FORMAT`.
"""

from __future__ import annotations

from collections.abc import Mapping

from larvae import config

FORMAT = "larvae.format"
"""Tag of experiments and runs: the `larvae.config.FORMAT` that they were written in; a first one is untagged."""
ROLE = "larvae.role"
"""STUDY_ROLE or MEMBER_ROLE."""
STUDY_ROLE, MEMBER_ROLE = "study", "member"

MEMBER = "larvae.member"
"""The content hash of a member."""
ITERATIONS = "larvae.iterations"
"""Iteration at which its training ends."""
FINGERPRINT = "larvae.fingerprint"
"""Fingerprint of the images of its data set."""
DIRECTORY = "larvae.directory"
"""Folder of its checkpoint and results, as `addresses.written_place` writes it."""
REASON = "larvae.reason"
"""Reason why it failed or was stopped; empty otherwise."""
COMMAND = "larvae.command"
"""The command that began it, or went on with it last."""
COMMIT = "mlflow.source.git.commit"
"""The project's commit, under MLflow's own name."""
STOPPED_AT = "larvae.stopped_at"
"""Iteration of the rung at which a search stopped it; stays where a longer search trains it on."""

SEARCH = "larvae.search"
"""Tag of a study's own run: tells that it is an adaptive search, and how it searches, in JSON."""
CONFIGURATION = "larvae.configuration"
"""Tag of a member's run: the number of its configuration in the search."""
POINT = "larvae.point"
"""Tag of a member's run: its configuration as Optuna holds it, in JSON."""

SCHEDULED, RUNNING, FINISHED, FAILED, STOPPED = "SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"
"""MLflow's statuses of a run; a member that was stopped is KILLED."""

MOST_CHARACTERS = 5_000
"""Length of a tag, which descriptions are too, that each of MLflow's databases takes."""


def require_format(tags: Mapping[str, str], what: str, remedy: str) -> None:
    """Check the tags of an experiment or a run, as `larvae.config.require_format` does."""
    number = tags.get(FORMAT)
    config.require_format(int(number) if number and number.isdecimal() else number, what, remedy)


def tagged(name: str, value: str) -> str:
    """The filter of MLflow's `search_runs` for runs with a tag."""
    return f"tags.`{name}` = '{value}'"
