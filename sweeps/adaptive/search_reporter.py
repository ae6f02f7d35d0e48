"""Reports of a search: its members in MLflow and on the terminal, the best so far, and the table at its end."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from larvae.config import MemberConfig
from sweeps.adaptive.adaptive_study import member_tags
from sweeps.adaptive.configurations import Configuration, Run
from sweeps.adaptive.objectives import scores, signs
from sweeps.adaptive.sampling import Observation
from sweeps.adaptive.searching import Search
from sweeps.adaptive.space import Space
from sweeps.console.progress import StudyProgress
from sweeps.outcome import ResultsTable
from sweeps.study import Study, StudyDirectory
from sweeps.tracking.tracker import Tracker

MOST_LISTED = 10


class SearchReporter:
    """Passes on to MLflow, the study's record and the terminal how a search goes."""

    def __init__(
        self, study: Study, directory: StudyDirectory, space: Space, tracker: Tracker, progress: StudyProgress
    ) -> None:
        self.study, self.directory, self.space = study, directory, space
        self.tracker, self.progress = tracker, progress
        self._recorded = {*(directory.read_record() or {}).get("members", {})}

    def welcome(self, configuration: Configuration, members: Sequence[MemberConfig]) -> None:
        """A configuration has new members, to be trained or ended by an earlier command."""
        if new := tuple(member for member in members if member.content_hash not in self._recorded):
            self.directory.write_record(dataclasses.replace(self.study, members=new), {})
            self._recorded.update(member.content_hash for member in new)
        self.tracker.add(members, member_tags(configuration))

    def expect(self, members: Sequence[MemberConfig]) -> None:
        """Members wait to be trained."""
        labels = {member.content_hash: self.study.label(member) for member in members}
        self.progress.add(labels, {member.content_hash: self.directory.reached(member) for member in members})

    def follow(self, search: Search) -> None:
        """Something has changed: the best so far, and what is likely to come."""
        self.progress.expected = iterations_to_come(search)
        front = search.best()
        if len(search.rules.objectives) == 1:
            self.progress.best = "; ".join(f"best {self._described(search, best)}" for best in front[:1])
        elif front:
            self.progress.best = f"{len(front)} on the front: {_best_of_each(search, front)}"

    def _described(self, search: Search, best: Observation) -> str:
        values = ", ".join(
            f"held-out {name} {value:.3f}" for name, value in zip(search.rules.objectives, best.values, strict=True)
        )
        seeds = search.num_seeds(best.number)
        where = " ".join(f"{name}={value:g}" for name, value in self.space.fields(best.point).items())
        return f"{values} with {where} ({seeds} seed{'s' if seeds > 1 else ''})"


def _best_of_each(search: Search, front: Sequence[Observation]) -> str:
    """The best value of each objective on a front, in words."""
    columns = zip(*(one.values for one in front), strict=True)
    signed = zip(search.rules.objectives, signs(search.rules.objectives), columns, strict=True)
    return ", ".join(
        f"best held-out {name} {sign * max(sign * value for value in all_values):.3f}"
        for name, sign, all_values in signed
    )


def iterations_to_come(search: Search) -> int:
    """Iterations of configurations that are not suggested yet, if they take as many as those that have ended."""
    rules = search.rules
    if search.is_exhausted:
        return 0
    ended = [c for c in search.configurations if c.stopped_at or all(run.status != "open" for run in c.first)]
    reached = [sum(run.reached for run in c.runs) for c in ended]
    each = statistics.fmean(reached or [rules.iterations * rules.first_seeds])
    return round(each * max(0, rules.configurations - len(search.configurations)))


def search_table(search: Search, space: Space, directory: StudyDirectory) -> ResultsTable:
    """The best configurations, means over seeds: the objectives on held-out labels, then metrics of whole data.

    Of several objectives the whole front, first and marked by a star.
    """
    headings = ("configuration", "seeds", *(f"held-out {name}" for name in search.rules.objectives), "MIG", "l2")
    rows = []
    finished = [o for o in search.results() if o.status == "finished"]
    front = {best.number for best in search.best()} if len(search.rules.objectives) > 1 else set()
    order = sorted(finished, key=lambda o: (o.number in front, scores(o.values, search.rules.objectives)), reverse=True)
    for best in order[: max(MOST_LISTED, len(front))]:
        runs = [run for run in search.configurations[best.number].runs if run.status == "finished"]
        where = " ".join(f"{name}={value:g}" for name, value in space.fields(best.point).items())
        values = [f"{value:.3f}" for value in best.values]
        whole = [_whole_data_mean(runs, directory, metric) for metric in ("mig", "l2")]
        rows.append(("* " * (best.number in front) + where, str(len(runs)), *values, *whole))
    starred = "; * on the front" if front else ""
    return ResultsTable(headings, rows, f"{len(search.configurations)} configurations: {counts(search)}{starred}")


def counts(search: Search) -> str:
    """The numbers of configurations that came to each end, in words."""
    statuses = [observation.status for observation in search.results()]
    named = [f"{statuses.count(status)} {status}" for status in ("finished", "stopped", "failed", "running")]
    return ", ".join(part for part in named if not part.startswith("0 "))


def _whole_data_mean(runs: Sequence[Run], directory: StudyDirectory, metric: str) -> str:
    results = [directory.member(run.config).read_result() for run in runs]
    values = [result["history"][-1].get(metric) for result in results if result]
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.3f}" if known else ""
