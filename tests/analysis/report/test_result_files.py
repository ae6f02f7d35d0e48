"""A member's training as the report reads it from its folder, whatever state that is in."""

from __future__ import annotations

from pathlib import Path

from larvae.config import MemberConfig
from larvae.member_directory import MemberDirectory, Row
from sweeps.analysis.report.result_files import trained_in

ENVIRONMENT = {"iteration": 0, "device": "AMD EPYC", "torch": "2.13.0", "python": "3.12"}


def rows(*iterations: int) -> list[Row]:
    return [{"iteration": iteration, "loss": 1.0, "seconds": 2.0} for iteration in iterations]


def test_members_that_failed_or_were_stopped_have_rows_and_no_known_processor(tmp_path: Path) -> None:
    assert trained_in(tmp_path / "none") is None
    failed, stopped = MemberDirectory(tmp_path / "failed"), MemberDirectory(tmp_path / "stopped")
    failed.append_rows(rows(10, 20))
    failed.write_failure(MemberConfig(), ValueError("of no use"))
    stopped.write_result(MemberConfig(), "stopped", rows(10), "none of the best", stopped_at=10)
    for files, expected in ((failed, [10, 20]), (stopped, [10])):
        found = trained_in(files.path)
        assert found is not None
        assert [row["iteration"] for row in found.rows] == expected
        assert (found.devices, found.seconds) == ((), 2.0 * len(expected))


def test_rows_behind_an_earlier_end_count(tmp_path: Path) -> None:
    files = MemberDirectory(tmp_path)
    files.append_rows(rows(10, 20))
    files.write_result(MemberConfig(), "finished", rows(10, 20), environments=[ENVIRONMENT])
    files.append_rows(rows(30))
    found = trained_in(tmp_path)
    assert found is not None
    assert [row["iteration"] for row in found.rows] == [10, 20, 30]
    assert (found.devices, found.seconds) == (("AMD EPYC",), 6.0)
