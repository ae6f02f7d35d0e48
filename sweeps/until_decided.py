"""Seeds a round at a time, until a claim of the paper is decided: where an effect is large, few are enough.

Each look at the results may err, so the 5 % that a verdict may are spread over looks: a look spends as much of them as
it brings of the seeds (error spending, Lan and DeMets 1983; linear as by Kim and DeMets 1987). Looks are counted as if
they had nothing in common (the union bound), which holds for any test and any number of seeds, and is a little strict.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from larvae.command_line import INTERRUPTED
from larvae.errors import InvalidInputError, require_known
from larvae.metrics import METRICS
from sweeps.console.terminal import new_console, say
from sweeps.driver.stopping import is_asked
from sweeps.options import StudyOptions
from sweeps.study import Study, StudyDirectory

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from sweeps.analysis.claims.verdicts import Verdict

FIRST_SEEDS = 3
"""Seeds of the first round: fewer decide nothing."""
ALPHA = 0.05
PATIENCE_SECONDS = 3600.0
"""Seconds for which a later round waits for what the first one had: a server or node that starts anew."""
AGAIN_SECONDS = 30.0


class Look(NamedTuple):
    """A round of seeds, and the level of the tests at its end."""

    seeds: int
    level: float


def looks(most_seeds: int, seeds_a_round: int) -> Iterator[Look]:
    """Yield rounds in their order, up to the most seeds; their levels sum up to ALPHA."""
    before = 0
    for seeds in [*range(FIRST_SEEDS, most_seeds, seeds_a_round), most_seeds]:
        yield Look(seeds, ALPHA * (seeds - before) / most_seeds)
        before = seeds


def require_looks(claim: str, study: Study, most_seeds: int, seeds_a_round: int) -> None:
    """Raise InvalidInputError for a claim that the study cannot decide, and for seeds of which there is no round."""
    from sweeps.analysis.claims.paper_claims import CLAIMS  # late: it takes pandas
    from sweeps.analysis.claims.verdicts import LOOK_ALIKE

    require_known("until_decided", claim, CLAIMS)
    needs, found = CLAIMS[claim].needs, _judged(claim, study, _invented(study), ALPHA)
    if not any(one.evidence and one.reason != LOOK_ALIKE for one in found):
        raise InvalidInputError(f"`until_decided` must be a claim that this study can decide: {claim} takes {needs}")
    if most_seeds < FIRST_SEEDS:
        raise InvalidInputError(f"`seeds` must be at least {FIRST_SEEDS} with --until-decided, got {most_seeds}")
    if seeds_a_round < 1:
        raise InvalidInputError(f"`seeds_a_round` must be > 0, got {seeds_a_round}")


def run_until_decided(claim: str, study_of: Callable[[int], Study], options: StudyOptions, seeds_a_round: int) -> int:
    """Run the study of ever more seeds, at most those of the options, until a claim is decided; its exit code.

    study_of: the study of so many seeds. Rounds that have ended are looked at again and not run.
    """
    from sweeps.analysis.claims.verdicts import LOOK_ALIKE, UNDECIDED

    console = new_console()
    directory = StudyDirectory((options.where.storage_path / options.study).absolute())
    whole = study_of(options.seeds)
    decided: dict[str, str] = {}  # cases, and what an earlier look has found: it has its share of the errors allowed
    directory.require_going_on(whole, {})  # rounds that have ended are not run, which would ask that
    code = None
    for look in looks(options.seeds, seeds_a_round):
        study = study_of(look.seeds)
        is_last = look.seeds == options.seeds
        if directory.unfinished(study) or is_last:
            patience = 0.0 if code is None else PATIENCE_SECONDS
            code = _run_round(study, options, patience, console)  # members that fail are gaps: their seeds do not count
        if code == INTERRUPTED or is_asked():
            return INTERRUPTED
        found = _verdicts(claim, study, directory, look.level)
        for one in found:
            console.print(f"{claim} after {look.seeds} seeds, tested at {look.level:.2g}: {_told(one, decided)}")
            if one.verdict != UNDECIDED:
                decided.setdefault(one.case, f"{one.verdict}, by {look.seeds} seeds")
        if all(one.case in decided for one in found if one.reason != LOOK_ALIKE):
            spared = 1 - len(study.members) / len(whole.members)
            console.print(f"Decided with {look.seeds} of at most {options.seeds} seeds: {spared:.0%} of members spared")
            if code is None and directory.is_unfinished:  # all have ended, but MLflow may lack some
                code = _run_round(study, options, 0.0, console)
            return code or 0
    console.print(
        f"Not decided with {options.seeds} seeds: more --seeds would be looked at by other levels, give another --study"
    )
    return code or 0


def _run_round(study: Study, options: StudyOptions, patience: float, console: Console) -> int:
    """Run a study; its exit code. patience: seconds for which it is tried again where it cannot begin."""
    from sweeps import runner  # late: `--help` and errors of the command line need not

    last = time.monotonic() + patience
    while True:
        try:
            return runner.run_study(study, options)
        except InvalidInputError as error:
            if time.monotonic() > last:
                raise
            say(f"{error}; the next seeds begin as soon as that is so", console)
            time.sleep(AGAIN_SECONDS)


def _verdicts(claim: str, study: Study, directory: StudyDirectory, level: float) -> list[Verdict]:
    from sweeps.analysis.load_kept import members_of, read_result

    members = members_of(read_result(directory.member(member).result) for member in study.members)
    return _judged(claim, study, members, level)


def _told(one: Verdict, decided: Mapping[str, str]) -> str:
    """A case in words: the verdict of an earlier look, or this one's."""
    from sweeps.analysis.claims.claims_report import telling_text, verdict_text

    verdict = decided.get(one.case) or verdict_text(one)
    return "; ".join(filter(None, (one.case, verdict, telling_text(one))))


def _judged(claim: str, study: Study, members: pd.DataFrame, level: float) -> list[Verdict]:
    from sweeps.analysis.claims.verdicts import judge

    return judge({study.name: members}, [claim], level)


def _invented(study: Study) -> pd.DataFrame:
    """The study's members as if they had ended, with numbers by chance."""
    import numpy as np
    import pandas as pd

    from sweeps.analysis.load import LOGGED_METRICS
    from sweeps.tracking.mlflow_names import FINISHED

    names = {*study.schedule.metrics, *study.schedule.final_metrics}
    known = {score.name for name in names for score in METRICS[name].scores}
    chance = np.random.default_rng(0)
    fields = [member.to_dict() | {"observed_factors": str(member.observed_factors)} for member in study.members]
    members = pd.DataFrame(fields)
    values = {name: chance.random(len(members)) if name in known else np.nan for name in LOGGED_METRICS}
    return members.assign(status=FINISHED, iterations=study.schedule.iterations, **values)
