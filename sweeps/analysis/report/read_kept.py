"""A study whose results the repository keeps, for its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larvae.config import FORMAT
from sweeps.analysis.load_kept import members_of, read_results
from sweeps.analysis.report.result_files import trained_of
from sweeps.analysis.report.study_record import Origin, StudyRecord


def read_kept(folder: Path, iterations: int | None = None) -> StudyRecord:
    """Read kept results, at the end or an iteration on the way.

    Raises InvalidInputError where there is none, or one is damaged or of an earlier format.
    """
    results = read_results(folder)
    ended = sorted(str(kept.content["ended"]) for kept in results if "ended" in kept.content)
    facts = {"format": str(FORMAT)} | ({"trained until": ended[-1]} if ended else {})
    return StudyRecord(
        study=folder.resolve().name,
        members=members_of(results, iterations),
        trained={kept.config.content_hash: trained_of(_until(iterations, kept.content)) for kept in results},
        origin=Origin(str(folder), facts),
        picture=lambda _: None,
    )


def _until(iterations: int | None, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """A result as it was at an iteration; the whole one where none is given."""
    if iterations is None:
        return result
    return {**result, "history": [row for row in result["history"] if row["iteration"] <= iterations]}
