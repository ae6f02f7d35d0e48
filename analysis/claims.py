"""The paper's claims, by rules that were written down before any number: docs/claims.md.

python analysis/claims.py
python analysis/claims.py --study tau-sweep-laptop z-dim-sweep-laptop
python analysis/claims.py --kept docs/results/study docs/results/curve docs/results/control
python analysis/claims.py --claims tau-improves outperforms
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from sweeps.analysis import script
from sweeps.console.tracking_uri import TrackingUri
from sweeps.tracking.addresses import default_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Tell of each claim whether it holds, does not, or cannot be decided, with effects and intervals over seeds."""

    claims: tuple[str, ...] = ()
    """Names of claims, such as tau-improves. Left out: all."""
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Take only members with this value of a field, NAME=VALUE. Give it again for another field."""
    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that figures (PNG, PDF) and numbers (CSV) are written to. Left out: figures/STUDY."""
    study: tuple[str, ...] = ()
    """Names of studies, by default the newest with members of τ = 0 and of τ > 0."""
    kept: tuple[Path, ...] = ()
    """Folders of kept results in place of MLflow's studies."""

    def __post_init__(self) -> None:
        script.require_one_source(self.study, self.kept)
        script.require_different(self.study, self.kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, judge, arguments)


def judge(arguments: Arguments) -> None:
    """Load, judge, draw, write, and print verdicts. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import load, load_kept  # late: `--help` needs no pandas
    from sweeps.analysis.claims import claims_report, load_course, paper_claims
    from sweeps.analysis.destination import destination

    chosen = [paper_claims.claim(name) for name in arguments.claims or paper_claims.CLAIMS]
    if arguments.kept:
        results = {folder.resolve().name: load_kept.read_results(folder) for folder in arguments.kept}
        found = {name: load_kept.course_of(kept) for name, kept in results.items()}
    else:
        uri = arguments.tracking_uri
        metrics = list(dict.fromkeys(metric for claim in chosen for metric in claim.metrics))
        names = arguments.study or (load.find_pair_study(uri),)
        found = {name: load_course.load_course(uri, name, metrics) for name in names}
    place = destination(list(found), arguments.output, None if arguments.kept else arguments.tracking_uri)
    courses = {name: course.where(arguments.where) for name, course in found.items()}
    claims_report.write_report(claims_report.judged(courses, [claim.name for claim in chosen]), place)


if __name__ == "__main__":
    sys.exit(main())
