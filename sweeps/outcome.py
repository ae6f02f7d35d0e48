"""The outcome of a study: its results as a table, means over seeds with their spread, and what has failed."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.table import Table

from larvae.config import MemberConfig
from larvae.member_directory import MemberDirectory, Row, last_evaluation
from larvae.metrics import SCORES
from sweeps.study import Study, StudyDirectory, label

HEADINGS = {"mig": "MIG", "mig_y": "MIG of y", "l2": "l2", "seconds_per_iteration": "s/iter"}
"""Columns of results, by the names that rows have."""
SUMMED_UP = ("mig", "l2")


class ResultsTable(NamedTuple):
    """A table of words."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""

    def on_terminal(self) -> Table:
        """The table for a terminal: its first column is text, and folded where it is long."""
        table = Table(box=None, header_style="bold", caption=self.note or None, caption_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="right" if number > 1 else "left", no_wrap=number > 0, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def as_csv(self) -> str:
        """The table as a file's text."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.headings, *self.rows])
        return text.getvalue()

    def as_markdown(self, most_rows: int) -> str:
        """The first rows for MLflow's pages."""
        rule = ["---", "---", *["---:"] * (len(self.headings) - 2)]
        lines = [f"| {' | '.join(row)} |" for row in (self.headings, rule, *self.rows[:most_rows])]
        more = len(self.rows) - most_rows
        return "\n".join(lines + [f"\n{more} more in table.csv"] * (more > 0) + [f"\n{self.note}"] * bool(self.note))


class Outcome(NamedTuple):
    """The results of a study, and its failures."""

    table: ResultsTable
    metrics: Mapping[str, float]
    """Numbers on the whole, such as `best_mig` and its spread over seeds, `best_mig_sd`."""
    failed: Mapping[str, str]
    """Reasons of the members that have failed, by their labels."""


class _Member(NamedTuple):
    label: str
    status: str
    row: Row
    """Its last row with metrics; empty where there is none."""

    @property
    def is_finished(self) -> bool:
        return self.status == "finished"


def outcome(study: Study, directory: StudyDirectory) -> Outcome:
    """A study's outcome, as its folder tells it: a line a setting, that is members that differ in their seeds alone.

    Where not all of a setting's seeds have finished, those that have not and got somewhere have a line of their own.
    """
    settings: dict[str, list[_Member]] = {}
    failed = {}
    for config in study.members:
        member, reason = _member(study, config, directory.member(config))
        settings.setdefault(label(config, [name for name in study.varied if name != "seed"]), []).append(member)
        if reason is not None:
            failed[member.label] = reason
    everyone = [member for members in settings.values() for member in members]
    known = [name for name in HEADINGS if any(name in member.row for member in everyone)]
    rows = [row for setting, members in settings.items() for row in _rows(setting, members, known)]
    note = "" if len(settings) == len(everyone) else "mean ± standard deviation of finished seeds"
    table = ResultsTable(("setting", "status", *(HEADINGS[name] for name in known)), rows, note)
    return Outcome(table, _summed_up(settings.values()), failed)


def _member(study: Study, config: MemberConfig, files: MemberDirectory) -> tuple[_Member, str | None]:
    """A member as it stands, and its reason if it has failed."""
    name, result = study.label(config), files.read_result()
    if row := last_evaluation(result, study.schedule.iterations):
        return _Member(name, "finished", row), None
    if result and result["status"] == "failed":
        return _Member(name, "failed", _last_evaluated(result["history"])), result["reason"]
    history = files.read_rows()[0]
    status = f"at {history[-1]['iteration']:,.0f} of {study.schedule.iterations:,}" if history else "waiting"
    return _Member(name, status, _last_evaluated(history)), None


def _last_evaluated(history: Sequence[Row]) -> Row:
    return next((row for row in reversed(history) if "mig" in row or "l2" in row), {})


def _rows(setting: str, members: Sequence[_Member], metrics: Sequence[str]) -> list[tuple[str, ...]]:
    """The lines of a setting."""
    if len(members) == 1:
        return [_row(members[0], metrics)]
    finished = [member for member in members if member.is_finished]
    cells = (_mean_and_deviation([member.row[name] for member in finished if name in member.row]) for name in metrics)
    whole = (setting, f"{len(finished)} of {len(members)} finished", *cells)
    others = [member for member in members if member.status not in ("finished", "waiting")]
    return [whole, *(_row(member, metrics) for member in others)]


def _row(member: _Member, metrics: Sequence[str]) -> tuple[str, ...]:
    return (member.label, member.status, *(f"{member.row[name]:.3f}" if name in member.row else "" for name in metrics))


def _mean_and_deviation(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values)
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"


def _summed_up(settings: Iterable[Sequence[_Member]]) -> dict[str, float]:
    """The best setting's mean and the mean of all that have finished, each with its standard deviation."""
    numbers: dict[str, float] = {}
    for name in SUMMED_UP:
        finished = [[m.row[name] for m in members if m.is_finished and name in m.row] for members in settings]
        finished = [values for values in finished if values]
        if finished:
            best = (max if SCORES[name].higher_is_better else min)(finished, key=statistics.fmean)
            for words, values in (("best", best), ("mean", [value for some in finished for value in some])):
                numbers[f"{words}_{name}"] = statistics.fmean(values)
                if len(values) > 1:
                    numbers[f"{words}_{name}_sd"] = statistics.stdev(values)
    return numbers
