"""The cost of members, read from the rows of such as have ended."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from larvae import datasets
from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.errors import InvalidInputError
from larvae.files import listed
from larvae.member_directory import TIMES, MemberDirectory, Row
from larvae.metrics import METRICS, applicable
from larvae.together.group import Likeness, likeness

MOST_RESULTS = 100
"""Most results that are read: those of the study's latest ended members."""
_GAP_SECONDS = 1.0  # there is less between two rows of one process

Result = Mapping[str, Any]
"""Result of a member that has ended, as `MemberDirectory.read_result` gives it."""


class Cost(NamedTuple):
    """Times that members of one kind take, in seconds."""

    start: float
    """Time to open the data and to compile, once for each process and structure."""
    iteration: float
    """A step of one member or, where members train in the same operations, of all that a trial has."""
    evaluation: float
    """An evaluation during training."""
    end: float
    """Evaluation with the final metrics."""


class Execution(NamedTuple):
    """The device and the way of training: members of a kind and execution are equally fast."""

    device: str
    compiled: bool
    precision: str
    native: bool = False


Results = Mapping[Likeness, Mapping[Execution, Sequence[Result]]]
"""Results by kind and execution."""


def kind_of(config: MemberConfig) -> Likeness:
    """The kind of a member, one of equal speed: all that makes members alike but the number of latents."""
    return likeness(dataclasses.replace(config, z_dim=1, observed_factors=()))


def execution_of(result: Result) -> Execution:
    """The execution of a member that has trained."""
    environment = result["environment"]
    return Execution(*(environment[name] for name in Execution._fields))


def read_results(members_directory: Path) -> Results:
    """Results of members that have trained to their end, or to where they were stopped."""
    found: dict[Likeness, dict[Execution, list[Result]]] = {}
    paths = sorted(listed(members_directory, "*/result.json"), key=lambda path: path.stat().st_mtime)
    for path in paths[-MOST_RESULTS:]:
        result = MemberDirectory(path.parent).read_result()
        if not result or result.get("format") != FORMAT:
            continue
        is_timed = all(row.keys() >= set(TIMES) for row in result["history"])
        if result["status"] in ("finished", "stopped") and result["history"] and "environment" in result and is_timed:
            with contextlib.suppress(InvalidInputError, LookupError, TypeError):  # files may be damaged
                kind = kind_of(MemberConfig.from_dict(result["config"]))
                found.setdefault(kind, {}).setdefault(execution_of(result), []).append(result)
    return found


def cost_of(results: Iterable[Result], schedule: Schedule, sharing: int = 1) -> Cost | None:
    """The cost of members of one kind, as medians over their rows; None where these do not tell all of it.

    sharing: how many members took their steps in turn, in one process.
    """
    spans: list[_Span] = []
    first: list[_Span] = []
    last: list[_Span] = []
    evaluated: frozenset[str] = frozenset()
    for result in results:
        evaluated = _evaluated_during_training(MemberConfig.from_dict(result["config"]), schedule)
        own = _spans(result["history"])
        first += own[:1]
        spans += [span for span in own[:-1] if not span.begins]
        last += [own[-1]] if result["status"] == "finished" and not own[-1].begins else []
    steady = [span for span in spans if not span.metrics] or spans + last
    during = [span.evaluation for span in spans if span.metrics == evaluated] if evaluated else [0.0]
    if not during and schedule.evaluate_every >= schedule.iterations:
        during = [0.0]  # there will be none
    if not (steady and during and last):
        return None
    iteration = statistics.median(span.seconds_per_iteration for span in steady)
    starts = [span.seconds - span.iterations * iteration for span in first if not span.metrics]
    return Cost(
        start=max([0.0, *starts]),
        iteration=iteration / sharing,
        evaluation=max(0.0, statistics.median(during)),
        end=max(0.0, statistics.median(span.evaluation for span in last)),
    )


class _Span(NamedTuple):
    """The time from the row before, as a row tells it."""

    iterations: int
    seconds: float
    seconds_per_iteration: float
    metrics: frozenset[str]
    """Metrics that were evaluated."""
    begins: bool
    """True if its process took its first steps, or began anywhere between the two rows."""

    @property
    def evaluation(self) -> float:
        """Seconds that were not of training."""
        return self.seconds - self.iterations * self.seconds_per_iteration


def _spans(history: Sequence[Row]) -> list[_Span]:
    spans = []
    for before, row in zip([None, *history], history, strict=False):
        gap = row["timestamp"] - row["seconds"] - before["timestamp"] if before else 0.0
        spans.append(
            _Span(
                iterations=int(row["iteration"] - (before["iteration"] if before else 0)),
                seconds=row["seconds"],
                seconds_per_iteration=row["seconds_per_iteration"],
                metrics=frozenset(filter(None, map(_metric_of, row))),
                begins=before is None or gap > _GAP_SECONDS,
            )
        )
    return spans


def _metric_of(column: str) -> str | None:
    """The metric that a value of a row belongs to, if it is one's: `mig` has `mig_y` too."""
    if column.startswith("held_out"):
        return "held_out"
    return next((name for name, metric in METRICS.items() if column in {score.name for score in metric.scores}), None)


def _evaluated_during_training(config: MemberConfig, schedule: Schedule) -> frozenset[str]:
    metrics = applicable(schedule.metrics, datasets.specification(config.dataset))
    return frozenset(metrics) | (frozenset({"held_out"}) if config.held_out else frozenset())
