"""A study whose results the repository keeps, for its report."""

from __future__ import annotations

from pathlib import Path

from larvae.config import FORMAT
from larvae.files import listed, load_json
from sweeps.analysis.load_kept import load_kept
from sweeps.analysis.report.result_files import trained_of
from sweeps.analysis.report.study_record import Origin, StudyRecord


def read_kept(folder: Path, iterations: int | None = None) -> StudyRecord:
    """Read kept results, at the end or an iteration on the way.

    Raises InvalidInputError where there is none, or one is damaged or of an earlier format.
    """
    members = load_kept(folder, iterations)
    contents = {path.stem: load_json(path) for path in listed(folder, "*.json")}
    trained = {str(row["hash"]): trained_of(contents[str(row["name"])]) for row in members.to_dict("records")}
    ended = sorted(str(content["ended"]) for content in contents.values() if "ended" in content)
    facts = {"format": str(FORMAT)} | ({"trained until": ended[-1]} if ended else {})
    return StudyRecord(
        study=folder.resolve().name,
        members=members,
        trained=trained,
        origin=Origin(str(folder), facts),
        picture=lambda _: None,
    )
