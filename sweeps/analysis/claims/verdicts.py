"""Claims against the members of studies: evidence for each case, and one verdict on it, corrected over all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from larvae.metrics import SCORES
from sweeps.analysis import load
from sweeps.analysis.claims.evidence import Evidence, weakest
from sweeps.analysis.claims.paper_claims import CLAIMS, Claim
from sweeps.analysis.claims.seed_tables import LABELLED_SET
from sweeps.analysis.comparisons import ALPHA, holm
from sweeps.analysis.estimates import budgets, has_result
from sweeps.analysis.idle_fields import shared
from sweeps.analysis.parameters import varies
from sweeps.analysis.settings import described
from sweeps.tracking.mlflow_names import FINISHED

LOOK_ALIKE = "not decidable on a look-alike"
_UNEQUAL = "members were not trained equally long"
_CONSTANT = "all seeds are equal, for which there is no test"
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not decidable here"


class Verdict(NamedTuple):
    """A claim in one case: a study, and a setting of the fields that the claim says nothing about."""

    claim: Claim
    study: str
    case: str
    iterations: tuple[int, ...]
    """Distinct budgets of its members, ascending; none where it has no members."""
    evidence: tuple[Evidence, ...]
    """All numbers that must lie above their bounds."""
    p_holds: float = math.nan
    """p of all numbers lying above, which is the largest; NaN where one has none."""
    p_fails: float = math.nan
    """p of one of them lying below, times their number."""
    reason: str = ""
    """Reason why it cannot be decided, where that is not for want of seeds."""
    verdict: str = UNDECIDED
    seeds_needed: int | None = None
    """Seeds that would decide, where it is undecided and that can be told."""

    @property
    def place(self) -> str:
        """The study and the case, in words."""
        return ", ".join(filter(None, (self.study, self.case)))

    @property
    def has_number(self) -> bool:
        """True where one of its numbers is known."""
        return any(math.isfinite(part.effect) for part in self.evidence)

    @property
    def weakest(self) -> Evidence | None:
        """The number that speaks least for the claim."""
        return weakest(self.evidence) if self.evidence else None

    @property
    def telling(self) -> Evidence | None:
        """The number that p is of: the one nearest to failing where the claim is nearer to that, else the weakest."""
        if self.verdict == HOLDS or not self.p_fails < (2.0 if math.isnan(self.p_holds) else self.p_holds):
            return self.weakest
        return min(self.evidence, key=lambda part: 2.0 if math.isnan(part.p_fails) else part.p_fails)


def judge(studies: Mapping[str, pd.DataFrame], names: Iterable[str] = CLAIMS, level: float = ALPHA) -> list[Verdict]:
    """Judge claims, by their names, by the members of studies: a verdict a case, corrected over all by Holm.

    studies: `load_members`' frames by name. level: of corrected p-values that decide.
    A claim without a case has one verdict, which tells what it takes.
    """
    found = []
    for claim in map(CLAIMS.__getitem__, names):
        cases = [verdict for study, members in studies.items() for verdict in _cases(claim, study, members)]
        found += cases or [Verdict(claim, "", "", (), (), reason=_no_results(claim))]
    tried = [one for one in found if one.study]  # with those of which nothing has finished yet: they will be tested
    held, failed = (holm([getattr(one, p) for one in tried]) for p in ("p_holds", "p_fails"))
    corrected = {id(one): (p, q) for one, p, q in zip(tried, held, failed, strict=True)}
    return [_decided(one, *corrected[id(one)], level, len(tried)) if one.evidence else one for one in found]


def _no_results(claim: Claim) -> str:
    return f"no results for it: it takes {claim.needs}"


def by_claim(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """Verdicts by the names of their claims, in the order in which these come first."""
    found: dict[str, list[Verdict]] = {}
    for one in verdicts:
        found.setdefault(one.claim.name, []).append(one)
    return found


def case_fields(claim: Claim, members: pd.DataFrame) -> list[str]:
    """Fields in which members differ and that a claim is not about."""
    varied = load.varied_parameters(members)
    if "regulariser" in varied:
        varied = ["regulariser", *load.other_parameters(members, "regulariser")]
    varied += ["label_rate"] * (members["label_rate"].nunique() > 1)
    return [name for name in varied if name not in (*claim.varied, "label_seed")]


def _cases(claim: Claim, study: str, members: pd.DataFrame) -> list[Verdict]:
    members = members[members["dataset"].isin([*claim.datasets, *claim.look_alikes])] if claim.datasets else members
    members = without_controls(members)
    if members.empty:
        return []
    members = shared(members, claim.varied)
    names = case_fields(claim, members)
    groups = [some for _, some in members.groupby(names, dropna=False)] if names else [members]
    known = [(some, _evidence(claim, some)) for some in groups]
    found = [(some, evidence) for some, evidence in known if evidence or _would_be_asked(claim, some)]
    firsts = pd.DataFrame([some.iloc[0] for some, _ in found])
    names = [name for name in names if varies(firsts, name)]  # members of no case need no telling apart
    return [_case(claim, study, names, some, evidence) for some, evidence in found]


def _would_be_asked(claim: Claim, members: pd.DataFrame) -> bool:
    """Tell that members would be a case of the claim if all had finished, unless its metrics were not measured."""
    finished = members[members["status"] == FINISHED]
    is_measured = all(has_result(finished, metric).any() for metric in claim.metrics)
    if len(finished) == len(members) or (len(finished) and not is_measured):
        return False
    return bool(_evidence(claim, members.assign(status=FINISHED, **dict.fromkeys(claim.metrics, 0.0))))


def _evidence(claim: Claim, members: pd.DataFrame) -> tuple[Evidence, ...]:
    """The numbers of all primary metrics, each of which must bear the claim out; none where one has none."""
    if not all(has_result(members, metric).any() for metric in claim.metrics):
        return ()
    found: list[Evidence] = []
    for metrics in [claim.metrics] if claim.is_joint else [(metric,) for metric in claim.metrics]:
        evidence = claim.contrast({metric: _table(members, claim, metric) for metric in metrics})
        if not evidence:
            return ()
        found += evidence
    return tuple(found)


def without_controls(members: pd.DataFrame) -> pd.DataFrame:
    """Members without those that replace no label by the true one: these are neither LaRVAE nor its baseline."""
    if "replacement" not in members:
        return members
    return members[(members["tau"] == 0) | (members["replacement"] == "given")]


def _case(
    claim: Claim, study: str, names: Sequence[str], members: pd.DataFrame, evidence: tuple[Evidence, ...]
) -> Verdict:
    first = members.iloc[0]
    name = described({name: first[name] for name in names}, first)
    verdict = Verdict(claim, study, name, budgets(members, claim.metrics), evidence)
    if not evidence:
        return verdict._replace(reason=_no_results(claim))
    if len(verdict.iterations) > 1:
        return verdict._replace(reason=_UNEQUAL)
    if set(members["dataset"]) & set(claim.look_alikes):
        return verdict._replace(reason=LOOK_ALIKE)
    return _tested(verdict)


def _table(members: pd.DataFrame, claim: Claim, metric: str) -> pd.DataFrame:
    """One metric, the better the higher: a row a seed, a column a combination of the fields that a claim is about.

    Labelled sets are one more level of the columns, where seeds have several. Members without a result are gaps.
    """
    has = has_result(members, metric)
    fields = ["seed", *claim.varied]
    if varies(members, LABELLED_SET) and members[has].groupby("seed")[LABELLED_SET].nunique().max() > 1:
        fields.append(LABELLED_SET)
    index = pd.MultiIndex.from_arrays([members[field] for field in fields], names=fields)
    results = pd.Series(members[metric].where(has).to_numpy(), index)
    if not index.is_unique:
        results = results.groupby(level=fields).mean()
    table = results.unstack(fields[1:])
    return table if SCORES[metric].higher_is_better else -table


def _tested(verdict: Verdict) -> Verdict:
    """p of all parts together: all must hold, any may fail."""
    held = [part.p_holds for part in verdict.evidence]
    failed = [part.p_fails for part in verdict.evidence if not math.isnan(part.p_fails)]
    return verdict._replace(
        p_holds=math.nan if any(map(math.isnan, held)) else max(held),
        p_fails=min(1.0, len(verdict.evidence) * min(failed)) if failed else math.nan,
    )


def _decided(one: Verdict, p_holds: float, p_fails: float, level: float, num_tests: int) -> Verdict:
    """The verdict by corrected p-values, and the seeds that an undecided one needs."""
    one = one._replace(p_holds=p_holds, p_fails=p_fails)
    if p_holds <= level or p_fails <= level:
        return one._replace(verdict=HOLDS if p_holds <= level else FAILS)
    if one.reason:
        return one
    if any(part.is_constant for part in one.evidence):
        return one._replace(reason=_CONSTANT)
    return one._replace(seeds_needed=_seeds_needed(one.evidence, num_tests * ALPHA / level))


def _seeds_needed(evidence: Sequence[Evidence], num_tests: float) -> int | None:
    """Seeds for all parts to hold if they all point that way, else for the first of those that do not to fail."""
    against = [part for part in evidence if part.effect <= part.bounds.holds_above]
    tests = num_tests * len(evidence) if against else num_tests  # one of the parts failing is enough
    if any(part.seeds_needed(tests) is None for part in evidence):
        return None
    needed = [part.seeds_needed(tests) or 0 for part in against or evidence]
    return min(needed) if against else max(needed)
