"""The make-up of the kept studies, and what they say of the paper's claims, as tables of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sweeps.analysis.claims.claims_report import fewest_seeds, needed_text, p_told, telling_text, verdict_text
from sweeps.analysis.claims.verdicts import FAILS, HOLDS, UNDECIDED, Verdict, by_claim
from sweeps.analysis.docs.kept_results import KeptResults
from sweeps.analysis.docs.written_pages import markdown_table
from sweeps.analysis.report.costs import cost
from sweeps.analysis.report.result_files import trained_of
from sweeps.console.progress import duration
from sweeps.kept.kept_studies import STUDIES


def studies_table(kept: KeptResults) -> str:
    """A line a kept study: its members, those that have ended, time, and processors."""
    head = ["study", "members ended", "iterations", "time of one thread", "members by processor"]
    return markdown_table(head, [_study(name, kept) for name in STUDIES], num_texts=1)


def claims_table(verdicts: Sequence[Verdict]) -> str:
    """A line a claim: cases in which it holds, does not, and cannot be decided, and seeds that would decide these."""
    head = ["claim", "source", HOLDS, FAILS, UNDECIDED, "seeds that would decide"]
    rows = []
    for cases in by_claim(verdicts).values():
        claim, found = cases[0].claim, Counter(one.verdict for one in cases if one.study)
        needed = sorted({one.seeds_needed for one in cases if one.seeds_needed})
        seeds = " to ".join(dict.fromkeys(map(needed_text, needed[:1] + needed[-1:])))
        untested = {fewest_seeds(one) for one in cases if one.verdict == UNDECIDED and not one.reason}
        seeds = seeds or " or ".join(f"{number} at least" for number in sorted(untested))
        numbers = [str(found[verdict] or "") for verdict in (HOLDS, FAILS, UNDECIDED)]
        rows.append([claim.statement, claim.source, *numbers, seeds if any(numbers) else cases[0].reason])
    return markdown_table(head, rows, num_texts=2)


def cases_table(verdicts: Sequence[Verdict]) -> str:
    """A line a claim and case, the claim in the first of its lines: the number that the verdict rests on, and it."""
    rows = []
    for cases in by_claim(verdicts).values():
        for one in cases:
            claim = one.claim.statement if one is cases[0] else ""
            rows.append([claim, one.place, telling_text(one), p_told(one), verdict_text(one)])
    return markdown_table(["claim", "case", "number", "p", "verdict"], rows)


def _study(name: str, kept: KeptResults) -> list[str]:
    study, results = STUDIES[name](), kept.results.get(name, ())
    found = cost(trained_of(one.content) for one in results)
    time = duration(found.total) if found else ""
    machines = ", ".join(f"{one.num_members} {one.devices}" for one in found.machines) if found else ""
    return [f"`{name}`", f"{len(results)} of {len(study.members)}", f"{study.schedule.iterations:,}", time, machines]
