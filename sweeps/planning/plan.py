"""The cost of a study before it starts: time, memory and money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from larvae import datasets
from larvae.config import MemberConfig, Schedule
from larvae.together.group import Likeness, likeness
from sweeps.console.progress import duration, makespan
from sweeps.planning.cost import Cost, kind_of
from sweeps.planning.measuring import Measured, measure, roomiest_node
from sweeps.resources.shares import TrialResources
from sweeps.trial.trial_settings import TrialSettings

COMMAND_SECONDS = 20.0
"""Seconds that a command takes besides its trials: imports, Ray, MLflow, and to end them all."""
TRIAL_SECONDS = 0.13
"""Seconds that Ray Tune adds to a trial, and that a member takes between its rows."""


@dataclass(frozen=True, slots=True)
class Work:
    """The training that is left."""

    trials: tuple[tuple[int, ...], ...]
    """Iterations left of each member of each trial."""
    example: MemberConfig
    """The largest member."""
    finished: int
    """Members that need no training."""
    members: int
    """Members of the study in all."""
    expected: tuple[tuple[int, ...], ...] | None = None
    """Trials that are likely in an adaptive study; `trials` is then the most there can be. Members with as many
    iterations as some of `trials` reach their end, others are stopped."""
    configs: tuple[tuple[MemberConfig, ...], ...] = ()
    """The members of `trials`, where they are known; else all are like the example."""
    assumption: str = ""
    """Assumption of `expected`, such as `if configurations come in random order`."""
    parallel: int | None = None
    """Trials in training at once, where they are fewer than the cluster holds."""

    def examples(self) -> list[MemberConfig]:
        """A member of each kind, the largest one first, then those of which most is left to train."""
        iterations: Counter[Likeness] = Counter()
        of_kind = {kind_of(self.example): self.example}
        for trial, configs in zip(self.trials, self.configs, strict=False):
            for left, config in zip(trial, configs, strict=True):
                iterations[kind_of(config)] += left
                of_kind.setdefault(kind_of(config), config)
        first, *others = of_kind
        return [of_kind[kind] for kind in (first, *sorted(others, key=lambda kind: -iterations[kind]))]


class Amount(NamedTuple):
    """A quantity of an adaptive study, or of one where all is known beforehand."""

    most: float
    expected: float | None = None
    """Likely quantity; None where that is the most."""

    def plus(self, more: float) -> Amount:
        return Amount(self.most + more, None if self.expected is None else self.expected + more)

    def times(self, factor: float) -> Amount:
        return Amount(self.most * factor, None if self.expected is None else self.expected * factor)


class Plan(NamedTuple):
    """The cost of a study."""

    at_once: int
    """Trials in training at once."""
    at_once_on_a_node: int
    seconds: Amount | None
    """Seconds from the command to its end; None where nothing tells them."""
    device_hours: Amount | None
    """Hours of GPUs or, where trials hold none, of CPU cores."""
    price: Amount | None
    """Price in the currency of the price of an hour, where one is given."""


def plan_study(
    work: Work,
    settings: TrialSettings,
    resources: TrialResources,
    price: float | None,
    console: Console,
) -> None:
    """Print what a study would cost; none of it is trained, nothing written. Ray is connected and data are prepared.

    price: of an hour of a GPU or, where trials hold none, of a CPU core.
    """

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    if not work.trials:
        say(f"members      {work.members:,}, all finished: nothing to train")
        return
    say("Timing one trial …")
    together = max(map(len, work.trials))
    trials = min(len(work.trials), work.parallel or len(work.trials))
    measured = measure(work.examples(), together, trials, settings, resources)
    room = roomiest_node(resources)[1]
    slots = resources.concurrency()
    plan = plan_of(work, settings.schedule, resources, measured, slots, room, price, reuses=settings.reuses_processes)
    images = sum(_prepared_file(name, settings).stat().st_size for name in {c.dataset for c in work.examples()})
    for name, text in _lines(work, resources, measured, plan, images, price):
        say(f"{name:<13}{text}")


def plan_of(
    work: Work,
    schedule: Schedule,
    resources: TrialResources,
    measured: Measured,
    slots: int,
    room: int,
    price: float | None = None,
    *,
    reuses: bool = True,
) -> Plan:
    """The numbers. slots: trials that the cluster holds at once. room: those that its roomiest node holds.

    reuses: whether trials follow each other in one process; else each waits for its own.
    """
    at_once = min(slots, len(work.trials), work.parallel or slots)
    if not measured.costs:
        return Plan(at_once, min(room, at_once), None, None, None)
    ends = {left for trial in work.trials for left in trial}
    kinds = [members[0] for members in work.configs] or [work.example] * len(work.trials)
    jobs = [list(zip(work.trials, kinds, strict=True))]
    if work.expected is not None:
        jobs.append([(trial, work.example) for trial in work.expected])
    launch, starts = (0.0, at_once) if reuses else (measured.launch, len(work.trials))
    each = [
        [launch + seconds for seconds in _seconds_of_trials(trials, ends, schedule, measured, starts)]
        for trials in jobs
    ]
    seconds = Amount(*(makespan(job, at_once) for job in each)).plus(COMMAND_SECONDS + measured.launch)
    hours = Amount(*map(sum, each)).times((resources.mean_gpus or resources.cpus) / 3600)
    return Plan(at_once, min(room, at_once), seconds, hours, None if price is None else hours.times(price))


def _seconds_of_trials(
    trials: Sequence[tuple[Sequence[int], MemberConfig]],
    ends: Collection[int],
    schedule: Schedule,
    measured: Measured,
    starts: int,
) -> list[float]:
    """Seconds of each trial, given its members' iterations and one of them.

    starts: processes at most, each of which opens and compiles once what members of one structure share. Kinds that
    were not measured count as the slowest that was.
    """
    slowest = max(measured.costs.values(), key=lambda cost: cost.iteration)
    started: Counter[Likeness] = Counter()
    seconds = []
    for trial, config in trials:
        cost = measured.costs.get(kind_of(config), slowest)
        started[likeness(config)] += 1
        start = cost.start if started[likeness(config)] <= starts else 0.0
        seconds.append(start + _seconds_of_trial(trial, ends, schedule, cost, fused=measured.fused))
    return seconds


def _seconds_of_trial(
    trial: Sequence[int], ends: Collection[int], schedule: Schedule, cost: Cost, *, fused: bool
) -> float:
    """ends: numbers of iterations after which a member is at its end; after others it was stopped."""
    seconds = TRIAL_SECONDS + cost.iteration * (max(trial) if fused else sum(trial))
    for left in trial:
        reached, every = schedule.iterations, schedule.evaluate_every
        if left in ends:
            evaluations = max(0, (reached - 1) // every - (reached - left) // every)
            seconds += evaluations * cost.evaluation + cost.end
        else:
            seconds += left // every * cost.evaluation
    return seconds


def _prepared_file(dataset: str, settings: TrialSettings) -> Path:
    file = settings.prepared_files.get(dataset)
    return datasets.prepare(dataset) if file is None else file.path


def _lines(
    work: Work, resources: TrialResources, measured: Measured, plan: Plan, images: int, price: float | None
) -> Iterator[tuple[str, str]]:
    """The lines to print: names, and what is said of them. images: bytes of the prepared files."""
    yield "members", _members(work)
    together = max(map(len, work.trials))
    share = f"{resources.cpus} CPU" + (f" and {resources.gpus:.3g} GPU" if resources.gpus else "")
    size = f"{_count(together, 'member')}, {plan.at_once:,} at once, {share} each"
    likely = None if work.expected is None else len(work.expected)
    yield "trials", f"{_either(len(work.trials), likely, _whole)} of {size}"
    yield "memory", _memory(measured, plan, images)
    if measured.disk_bytes is not None:
        yield "disk", _disk(measured.disk_bytes, work.members)
    if plan.seconds is None or plan.device_hours is None:
        yield "time", f"unknown, as no trial could be timed: {measured.failure}"
        return
    yield "time", f"{_either(*plan.seconds, duration)}{work.assumption and f' {work.assumption}'}"
    yield "", _source(measured, len(work.examples()) - len(measured.costs))
    device = "GPU" if resources.gpus else "CPU core"
    yield "device time", f"{_either(*plan.device_hours, _hours)} {device} hours"
    if plan.price is not None:
        yield "price", f"{_either(*plan.price, _money)} at {price:,.2f} an hour"


def _members(work: Work) -> str:
    left = [iterations for trial in work.trials for iterations in trial]
    if work.expected is not None:
        likely = [iterations for trial in work.expected for iterations in trial]
        iterations = _either(sum(left), sum(likely), _whole)
        return f"{_either(len(left), len(likely), _whole)}: {iterations} iterations"
    before = f"{work.members:,} ({work.finished:,} finished before): " if work.finished else ""
    to_train = f"{len(left):,} to train" if work.finished else f"{len(left):,}"
    if len(set(left)) == 1:
        return f"{before}{to_train} × {left[0]:,} iterations"
    return f"{before}{to_train}, {sum(left):,} iterations in all"


def _memory(measured: Measured, plan: Plan, images: int) -> str:
    shared = f"{_size(images / 1e9)} GB of images shared by all of a node"
    if measured.trial_bytes is None:
        return shared
    together = plan.at_once_on_a_node * measured.trial_bytes
    text = f"{_size(measured.trial_bytes / 1e9)} GB a trial"
    if measured.gpu_bytes is not None:
        text += f" and {_size(measured.gpu_bytes / 1e9)} GB of a GPU"
    if plan.at_once_on_a_node > 1:
        text += f", {_size(together / 1e9)} GB for {plan.at_once_on_a_node:,} at once on a node"
    return f"{text}; {shared}"


def _disk(member_bytes: float, members: int) -> str:
    whole = _size(member_bytes * members / 1e9)
    return f"{_size(member_bytes / 1e6)} MB a member, {whole} GB for all {members:,}"


def _size(number: float) -> str:
    """Two digits, or all of them before the point."""
    return f"{number:.2g}" if number < 99.5 else f"{number:,.0f}"


def _source(measured: Measured, others: int) -> str:
    """The source of the seconds. others: kinds of members of which nothing is known."""
    costs = measured.costs.values()
    iteration = _range([cost.iteration for cost in costs])
    evaluation = _range([cost.evaluation for cost in costs])
    end = _range([cost.end for cost in costs])
    timed = ["timed now on this cluster"] if measured.timed else []
    ended = [f"as {_count(measured.ended, 'member')} of this study took"] if measured.ended else []
    untimed = f" (none could be timed now: {measured.failure})" if measured.failure else ""
    rest = f"; {_count(others, 'other kind')} of members counted as the slowest" if others else ""
    seconds = f"{iteration} s an iteration, {evaluation} s an evaluation, {end} s at a member's end"
    return f"{seconds}: {' and '.join(timed + ended)}{untimed}{rest}"


def _either(most: float, expected: float | None, say: Callable[[float], str]) -> str:
    if expected is None:
        return say(most)
    likely = f", about {say(expected)}" if say(expected) != say(most) else ""
    return f"at most {say(most)}{likely}"


def _range(values: Sequence[float]) -> str:
    lowest, highest = (f"{value:.2g}" if value < 100 else f"{value:,.0f}" for value in (min(values), max(values)))
    return lowest if lowest == highest else f"{lowest} to {highest}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _hours(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def _money(number: float) -> str:
    return f"{number:,.2f}"
