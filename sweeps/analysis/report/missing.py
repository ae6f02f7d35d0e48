"""Members without a result, and reasons."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from sweeps.analysis.estimates import MissingMember, missing_members
from sweeps.analysis.parameters import setting_name
from sweeps.analysis.report.headline import STATUS_WORDS
from sweeps.analysis.report.study_record import StudyRecord
from sweeps.tracking.mlflow_names import FAILED, FINISHED

MOST_NAMED = 12
_NO_REASON = "no reason logged"


class Gap(NamedTuple):
    """Members that lack a result for one reason."""

    status: str
    reason: str
    members: tuple[str, ...]
    """In words, MOST_NAMED of them."""
    number: int


def gaps(record: StudyRecord) -> list[Gap]:
    """Members without a result by status and reason, failures first."""
    members = record.members
    measured = [name for name in ("mig", "l2") if members.loc[members["status"] == FINISHED, name].notna().any()]
    fields = [name for name in record.fields if name != "label_rate"]
    found = missing_members(members, measured or ["mig"], lambda row: setting_name({n: row[n] for n in fields}))
    groups: dict[tuple[str, str], list[MissingMember]] = {}
    for one in found:
        reason = one.reason or (_NO_REASON if one.status == FAILED else "")
        groups.setdefault((one.status, reason), []).append(one)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0] != FAILED, -len(item[1])))
    return [
        Gap(
            "finished" if status == FINISHED else STATUS_WORDS.get(status, status),
            textwrap.shorten(reason, 240, placeholder=" …"),
            tuple(one.configuration for one in some[:MOST_NAMED]),
            len(some),
        )
        for (status, reason), some in ordered
    ]
