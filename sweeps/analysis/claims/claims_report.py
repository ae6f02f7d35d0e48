"""The claims of the paper: from members of studies to verdicts, their table, their numbers, and figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from sweeps.analysis.claims.evidence import FEWEST_SEEDS_OF_CHOICE, Evidence
from sweeps.analysis.claims.paper_claims import CLAIMS
from sweeps.analysis.claims.verdicts import FAILS, HOLDS, UNDECIDED, Verdict, by_claim, judge
from sweeps.analysis.comparisons import FEWEST_SEEDS, p_text
from sweeps.analysis.course import Course, by_iteration
from sweeps.analysis.destination import Destination
from sweeps.analysis.drawn import Drawn, csv_files
from sweeps.analysis.estimates import CONFIDENCE, caution
from sweeps.analysis.figures.claim_figures import claims_figure, has_moves, moves_figure
from sweeps.analysis.names import seeds_text

_MOST_SEEDS = 1_000
"""Seeds beyond which their number is not told."""


class Judgement(NamedTuple):
    """Verdicts at the end of studies, and by iterations on the way there, ascending."""

    verdicts: list[Verdict]
    on_the_way: dict[int, list[Verdict]]


def judged(courses: Mapping[str, Course], names: Collection[str] = CLAIMS) -> Judgement:
    """Judge claims, by their names, by studies at their end and at each iteration on the way."""
    return Judgement(judge_ends(courses, names), judge_on_the_way(courses, names))


def judge_ends(courses: Mapping[str, Course], names: Collection[str] = CLAIMS) -> list[Verdict]:
    """The same at their end."""
    return judge({study: course.end for study, course in courses.items()}, names)


def judge_on_the_way(courses: Mapping[str, Course], names: Collection[str] = CLAIMS) -> dict[int, list[Verdict]]:
    """The same at each iteration on the way, ascending."""
    return {iterations: judge(then, names) for iterations, then in by_iteration(courses).items()}


def drawn(found: Judgement) -> Drawn:
    """The figures of verdicts, as far as members have any numbers, and these numbers."""
    verdicts, on_the_way = found
    figures: dict[str, Callable[[], Figure]] = {}
    frames = {"claims.csv": claims_frame(verdicts)}
    if any(one.has_number for one in verdicts):
        figures["claims"] = lambda: claims_figure(verdicts)
    if has_moves(on_the_way):
        figures["claims_moves"] = lambda: moves_figure(on_the_way)
        moves = [claims_frame(some).assign(at=iterations) for iterations, some in on_the_way.items()]
        frames["claims_moves.csv"] = pd.concat(moves)
    return Drawn(figures, csv_files(frames))


def write_report(found: Judgement, place: Destination) -> None:
    """Draw, write, and print verdicts. Raises InvalidInputError before anything is written."""
    contents = drawn(found).contents()
    place.write(contents)
    print(claims_table(found.verdicts))
    budgets = sorted({number for one in found.verdicts for number in one.iterations})
    for note in caution(budgets) if budgets else []:
        print(note)
    place.tell(contents)


def claims_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a number that a claim bounds, with the verdict on the whole claim; one a claim that has no members."""
    return pd.DataFrame([row for one in verdicts for row in _rows(one)])


def claims_table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts for the terminal: a claim and its source, then a line a case with its weakest number."""
    lines = [
        f"effect [{100 * CONFIDENCE:g} % interval over seeds], p Holm-corrected over all cases; rules: docs/claims.md"
    ]
    for name, cases in by_claim(verdicts).items():
        lines.append(f"\n{cases[0].claim.statement} ({name}; {cases[0].claim.source})")
        for one in cases:
            lines.append(f"    {verdict_text(one)}" + (f"   {one.place}" if one.place else ""))
            if one.telling:
                p = p_told(one)
                lines.append(f"        {evidence_text(one.telling)}{p and f', p {p}'}")
    return "\n".join(lines)


def verdict_text(one: Verdict) -> str:
    """The verdict in words, such as `not decidable here: 12 seeds would do`."""
    if one.verdict == FAILS and one.telling and one.telling.effect > one.telling.bounds.holds_above:
        return f"{one.verdict}: less than what matters, {one.telling.bounds.fails_below:g}"
    if one.verdict != UNDECIDED:
        return one.verdict
    if one.reason:
        return f"{one.verdict}: {one.reason}"
    if one.seeds_needed is None:
        return f"{one.verdict}: a test takes {fewest_seeds(one)} seeds"
    about = "" if one.seeds_needed > _MOST_SEEDS else "about "
    return f"{one.verdict}: {about}{needed_text(one.seeds_needed)} seeds would do"


def fewest_seeds(one: Verdict) -> int:
    """Seeds that a case takes to be tested at all."""
    return FEWEST_SEEDS_OF_CHOICE if one.claim.has_choice else FEWEST_SEEDS


def needed_text(seeds: int) -> str:
    """The number of seeds that would decide, as far as it is told."""
    return f"more than {_MOST_SEEDS:,}" if seeds > _MOST_SEEDS else f"{seeds:,}"


def telling_text(one: Verdict) -> str:
    """The number that the verdict rests on, in words; empty where there is none."""
    return evidence_text(one.telling) if one.telling else ""


def evidence_text(part: Evidence) -> str:
    """A number in words, such as `MIG: τ > 0 less τ = 0: +0.031 [−0.004, +0.066], 3 of 5 seeds, without τ = 10`."""
    is_whole = part.num_seeds + part.num_choosing >= part.num_planned
    seeds = seeds_text(part.num_seeds) if is_whole else f"{part.num_seeds} of {seeds_text(part.num_planned)}"
    if part.num_choosing:
        seeds += f", chosen by {part.num_choosing} more"
    if part.left_out:
        seeds += f", without {', '.join(part.left_out)}"
    if math.isnan(part.effect):
        return f"{part.subject}: {seeds}"
    bounds = "" if math.isnan(part.low) else f" [{number_text(part, part.low)}, {number_text(part, part.high)}]"
    return f"{part.subject}: {number_text(part, part.effect)}{bounds}, {seeds}"


def number_text(part: Evidence, value: float) -> str:
    """A value of a number: signed where it is a difference, times where it is a ratio."""
    return f"{value:.2f}×" if part.is_ratio else f"{value:+.3f}".replace("-", "−")


def p_told(one: Verdict) -> str:
    """The corrected p that the verdict rests on, such as `.031 *`; empty where nothing was tested."""
    known = [p for p in (one.p_holds, one.p_fails) if not math.isnan(p)]
    if not known:
        return ""
    p_value = one.p_holds if one.verdict == HOLDS else one.p_fails if one.verdict == FAILS else min(known)
    return p_text(p_value, p_value, starred=one.verdict != UNDECIDED).strip()


def _rows(one: Verdict) -> list[dict[str, object]]:
    whole = {
        "claim": one.claim.name,
        "statement": one.claim.statement,
        "source": one.claim.source,
        "study": one.study,
        "case": one.case,
        "iterations": " ".join(map(str, one.iterations)),
        "verdict": one.verdict,
        "reason": one.reason,
        "p_holds_holm": one.p_holds,
        "p_fails_holm": one.p_fails,
        "seeds_needed": one.seeds_needed,
    }
    parts = [
        {
            "number": part.subject,
            "num_seeds": part.num_seeds,
            "num_choosing": part.num_choosing,
            "num_planned": part.num_planned,
            "left_out": ", ".join(part.left_out),
            "effect": part.effect,
            "ci_low": part.low,
            "ci_high": part.high,
            "holds_above": part.bounds.holds_above,
            "fails_below": part.bounds.fails_below,
            "p_holds": part.p_holds,
            "p_fails": part.p_fails,
        }
        for part in one.evidence
    ]
    return [whole | part for part in parts or [{}]]
