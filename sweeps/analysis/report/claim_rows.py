"""The paper's claims as a table of a study's page."""

from __future__ import annotations

from sweeps.analysis.claims.claims_report import p_told, telling_text, verdict_text
from sweeps.analysis.claims.verdicts import judge
from sweeps.analysis.report.study_record import StudyRecord

HEADER = ["claim", "case", "verdict", "effect", "p"]


def claim_rows(record: StudyRecord) -> list[list[str]]:
    """A line a claim and case that the study has members for; none of a search, which chose settings by results."""
    if record.search:
        return []
    return [
        [one.claim.statement, one.case, verdict_text(one), telling_text(one), p_told(one)]
        for one in judge({record.study: record.members})
        if one.study
    ]
