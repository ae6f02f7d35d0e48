"""The studies whose results the repository keeps: each read once, and claims judged by them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sweeps.analysis.claims.claims_report import Judgement, judge_ends, judge_on_the_way
from sweeps.analysis.claims.verdicts import Verdict
from sweeps.analysis.course import Course
from sweeps.analysis.load_kept import KeptResult, course_of, read_results
from sweeps.kept.kept_studies import STUDIES


@dataclass(frozen=True)
class KeptResults:
    """A folder of kept results: of each study in a folder of its name."""

    folder: Path

    @cached_property
    def results(self) -> Mapping[str, Sequence[KeptResult]]:
        """The studies that have an ended member, by their names. Raises InvalidInputError where a file is damaged."""
        folders = {name: self.folder / name for name in STUDIES}
        return {name: read_results(path) for name, path in folders.items() if any(path.glob("*.json"))}

    @cached_property
    def courses(self) -> Mapping[str, Course]:
        """The same, at the end and on the way there."""
        return {name: course_of(results) for name, results in self.results.items()}

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Verdicts on all claims, of all of them together, at their end."""
        return judge_ends(self.courses)

    @cached_property
    def judgement(self) -> Judgement:
        """The same, and at iterations on the way those by the longest study alone, which a figure can hold."""
        longest = {name: course for name, course in self.courses.items() if name == "study"}
        return Judgement(self.verdicts, judge_on_the_way(longest))
