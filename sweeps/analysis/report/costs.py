"""The cost of a study: seconds of its members' training, and the machines that they were trained on."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from larvae.member_directory import Row
from sweeps.analysis.report.study_record import StudyRecord, Trained
from sweeps.console.progress import duration


class Machines(NamedTuple):
    """The members that were trained on the same kinds of processors or GPUs."""

    devices: str
    """Names; empty where they are not known."""
    num_members: int
    seconds: float


class Cost(NamedTuple):
    """Seconds of training, as far as they are known."""

    num_known: int
    """Members whose seconds are known."""
    num_begun: int
    total: float
    shortest: float
    median: float
    longest: float
    has_evaluations: bool
    """True if evaluations are part of the seconds of all of them."""
    machines: tuple[Machines, ...]


def cost(members: Iterable[Trained]) -> Cost | None:
    """Sum up the members' seconds; None where none is known."""
    begun = [trained for trained in members if trained.rows]
    known = [(trained, seconds) for trained in begun if (seconds := seconds_of(trained)) is not None]
    if not known:
        return None
    numbers = [number for _, number in known]
    counts: Counter[str] = Counter()
    sums: defaultdict[str, float] = defaultdict(float)
    for trained, number in known:
        devices = ", then ".join(trained.devices)
        counts[devices] += 1
        sums[devices] += number
    return Cost(
        num_known=len(known),
        num_begun=len(begun),
        total=math.fsum(numbers),
        shortest=min(numbers),
        median=statistics.median(numbers),
        longest=max(numbers),
        has_evaluations=all(trained.seconds is not None for trained, _ in known),
        machines=tuple(Machines(name, number, sums[name]) for name, number in counts.most_common()),
    )


def seconds_of(trained: Trained) -> float | None:
    """Seconds of a member's training; where only its rate was logged, that times iterations, without evaluations."""
    return _by_rate(trained.rows) if trained.seconds is None else trained.seconds


def _by_rate(rows: Sequence[Row]) -> float | None:
    seconds, before, is_known = 0.0, 0.0, False
    for row in rows:
        if "seconds_per_iteration" in row:
            seconds += row["seconds_per_iteration"] * (row["iteration"] - before)
            before, is_known = row["iteration"], True
    return seconds if is_known else None


def cost_words(record: StudyRecord) -> dict[str, Any] | None:
    """The cost for the page; None where nothing is known."""
    found = cost(record.trained.values())
    if found is None:
        return None
    facts = [
        ("in all", duration(found.total)),
        ("a member", f"{duration(found.shortest)} to {duration(found.longest)}, median {duration(found.median)}"),
    ]
    note = "Seconds of training, evaluations and metrics included."
    if not found.has_evaluations:
        note = "Where members' folders were not at hand: iterations times their logged rate, without evaluations."
    if found.num_known < found.num_begun:
        note += f" Known of {found.num_known} of {found.num_begun} members that have begun."
    machines = [(one.devices or "not known", one.num_members, duration(one.seconds)) for one in found.machines]
    return {"facts": facts, "machines": machines, "note": f"{note} Members that trained at once shared a machine."}
