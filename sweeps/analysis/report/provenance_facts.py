"""The origin of results and of the page, as lines of a name and a text."""

from __future__ import annotations

import datetime
import shlex
import sys
from importlib.metadata import version

from sweeps.analysis.parameters import value_text
from sweeps.analysis.report.study_record import StudyRecord
from sweeps.tracking.addresses import masked
from sweeps.tracking.provenance import git_commit


def origin_facts(record: StudyRecord) -> list[tuple[str, str]]:
    """Facts on the training of the members, as far as they are known."""
    facts = {"read from": record.origin.source, **record.origin.facts}
    commits = dict.fromkeys(commit for trained in record.trained.values() for commit in trained.commits)
    if commits:
        facts["commits"] = ", ".join(commits)
    for name in ("python", "torch"):
        known = {trained.versions[name] for trained in record.trained.values() if name in trained.versions}
        if known:
            facts[name] = ", ".join(sorted(known))
    return list(facts.items())


def page_facts(uri: str) -> list[tuple[str, str]]:
    """Facts on the page itself. uri: an address whose password is left out of the command."""
    now = datetime.datetime.now(datetime.UTC)
    return [
        ("made", f"{now:%Y-%m-%d %H:%M} UTC"),
        ("command", masked(shlex.join(["python", *sys.argv]), uri)),
        ("commit", git_commit()),
        ("version", f"larvae-sweeps {version('larvae-sweeps')}, bokeh {version('bokeh')}"),
    ]


def shared_configuration(record: StudyRecord) -> list[tuple[str, str]]:
    """Fields that have one value in all members."""
    found = []
    for name in record.parameters:
        values = record.members[name]
        if name != "seed" and values.nunique(dropna=False) == 1:
            found.append((name, "" if values.isna().all() else value_text(values.iloc[0])))
    return found
