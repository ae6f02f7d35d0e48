"""The training of a member, as its result tells it, or its rows where it has not ended or goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larvae.member_directory import MemberDirectory, last_iteration
from sweeps.analysis.report.study_record import Trained

_VERSIONS = ("python", "torch")


def trained_in(folder: Path) -> Trained | None:
    """Read a member's folder; None where it holds no row of it."""
    files = MemberDirectory(folder)
    result, rows = files.read_result(), files.read_rows()[0]
    ended = trained_of(result) if result else Trained()
    if last_iteration(rows) > last_iteration(ended.rows):  # it goes on from an earlier end
        return ended._replace(rows=rows, seconds=_seconds(rows))
    return ended if result else None


def trained_of(result: Mapping[str, Any]) -> Trained:
    """The training that a whole result tells of: its keeping adds a processor's name and commits."""
    environments = [one for one in result.get("environments", ()) if isinstance(one, dict)]
    devices = [str(one["device"]) for one in environments if "device" in one]
    if not devices and "processor" in result:
        devices = [str(result["processor"])]
    return Trained(
        rows=result["history"],
        devices=tuple(dict.fromkeys(devices)),
        commits=tuple(map(str, result.get("commits", ()))),
        versions={name: str(one[name]) for one in environments for name in _VERSIONS if name in one},
        seconds=_seconds(result["history"]),
    )


def _seconds(rows: Any) -> float | None:
    known = [float(row["seconds"]) for row in rows if "seconds" in row]
    return sum(known) if known else None
