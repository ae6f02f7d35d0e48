"""A study as its report reads it, from MLflow or from results that the repository keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from larvae.errors import InvalidInputError
from larvae.member_directory import Row
from sweeps.analysis import load, settings
from sweeps.analysis.search.ranking import SearchResult

_REPEATED = ("seed", "label_seed")
"""Fields that repeat a setting: results are means over them."""
_OF_SEARCHES = ("configuration", "point", "stopped_at", "started_at", "ended_at")


class Trained(NamedTuple):
    """The training of a member."""

    rows: Sequence[Row] = ()
    """Rows, ascending: iteration, and what of losses, metrics and seconds is known."""
    devices: tuple[str, ...] = ()
    """Processors or GPUs that it was trained on; none where that is not known."""
    commits: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}
    """Versions of Python and PyTorch, as far as they are known."""
    seconds: float | None = None
    """Seconds of all its rows, with evaluations; None where they are not known."""


class Origin(NamedTuple):
    """The origin of a study's results: lines of a name and what is known."""

    source: str
    """Place that the page was read from."""
    facts: Mapping[str, str]
    run_page: str = ""
    """Start of the address of a run's page; empty where no server shows it."""
    ui_command: str = ""
    """Command that shows MLflow's pages; empty where there is a server, or nothing in MLflow."""


@dataclass(frozen=True, kw_only=True)  # without slots: what follows from fields is computed once
class StudyRecord:
    """All that the report of a study is made of."""

    study: str
    members: pd.DataFrame
    """Rows of `load_members`, from 0; of a search, of `load_search`."""
    trained: Mapping[str, Trained]
    """The training of members, by their hashes; those that have not begun may lack."""
    origin: Origin
    picture: Callable[[Any], bytes | None]
    """The label traversals of a member, a row of `members`, as PNG; None where there is no such picture."""
    runs: Mapping[str, str] = field(default_factory=dict)
    """Ids of MLflow's runs by the members' hashes."""
    search: SearchResult | None = None
    conditions: tuple[str, ...] = ()
    """Conditions by which members were chosen, each NAME=VALUE."""

    def __post_init__(self) -> None:
        """Settings that only other regularisers have are written as such: they are no numbers, nor equal to themselves.

        Fields of searches are the same of all members.
        """
        lacking = {
            name: column.astype(object).where(column.notna(), "–")
            for name in (self.fields if not self.search else ())
            if (column := self.members[name]).isna().any()
        }
        object.__setattr__(self, "members", self.members.assign(**lacking))

    @cached_property
    def fields(self) -> list[str]:
        """Fields in which members differ, but seeds: their combinations are settings."""
        if self.search:
            return list(self.search.space.parameters)
        varied = load.varied_parameters(self.members)
        if "regulariser" in varied:
            varied = ["regulariser", *load.other_parameters(self.members, "regulariser")]
        varied = [name for name in varied if name not in (*_REPEATED, *_OF_SEARCHES)]
        return varied + ["label_rate"] * (self.members["label_rate"].nunique() > 1)

    @property
    def parameters(self) -> list[str]:
        """Columns that are fields of the members' configuration."""
        return [name for name in load.parameters_of(self.members) if name not in _OF_SEARCHES]

    def where(self, conditions: Sequence[str]) -> StudyRecord:
        """The record of members with given values of fields, each NAME=VALUE.

        Raises InvalidInputError where there are none, and for a search, whose verdicts are on all members.
        """
        if not conditions:
            return self
        if self.search:
            raise InvalidInputError(f"`where` must be left out for a search, got {' '.join(conditions)}")
        members = settings.where(self.members, conditions).reset_index(drop=True)
        trained = {member: self.trained[member] for member in members["hash"] if member in self.trained}
        return dataclasses.replace(self, members=members, trained=trained, conditions=tuple(conditions))

    def trained_of(self, member: str) -> Trained:
        """The training of a member, by its hash."""
        return self.trained.get(member, Trained())
