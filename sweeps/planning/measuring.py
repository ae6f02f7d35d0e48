"""Times a trial on the cluster, before a study starts.

What a trial would do is done in a temporary folder, as often at once as trials will run on one node, which shares its
memory's bandwidth among them. What members of the study have told before is not timed again.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from larvae import datasets
from larvae.config import MemberConfig, Schedule
from larvae.errors import one_line
from larvae.member_directory import MemberDirectory
from larvae.metrics import METRICS, applicable, computation
from larvae.metrics.sample import Sample
from larvae.together.group import Likeness
from larvae.training import ENCODING_BATCH
from sweeps.planning.cost import Cost, Execution, Result, Results, cost_of, execution_of, kind_of, read_results
from sweeps.resources.gpu_memory import CONTEXT_BYTES
from sweeps.resources.probe import PROBE_SECONDS
from sweeps.resources.shares import TrialResources
from sweeps.trial.trial_settings import TrialSettings
from sweeps.trial.worker import Worker

TIMED_SECONDS = 7.0
"""Approximate seconds that members of a kind train to time their iterations; less where there are many kinds."""
ALL_TIMED_SECONDS = 20.0
TIMED_ROWS = 8
MOST_KINDS = 6
"""Kinds of members that are timed."""
SLOW_SAMPLE = 500
"""Images that slow metrics are timed on: DCI of 10,000 random codes of dSprites took 20 times as long, within 3%."""


class Measured(NamedTuple):
    """The known costs and memory of a study's trials."""

    costs: dict[Likeness, Cost]
    """Costs by kind of member; empty where nothing is known."""
    launch: float = 0.0
    """Seconds between asking for a process and having it."""
    fused: bool = False
    """True if a trial's members train in the same operations."""
    trial_bytes: float | None = None
    """Bytes that a trial takes of its node's memory with others beside it; what they share is divided among them."""
    gpu_bytes: float | None = None
    """Bytes that a trial takes of a GPU's memory."""
    disk_bytes: float | None = None
    """Bytes that a member takes of the study's folder: two checkpoints, as the one before is kept."""
    timed: int = 0
    """Kinds that were timed now."""
    ended: int = 0
    """Members of the study that told the rest."""
    failure: str = ""
    """Reason why nothing could be timed."""


def measure(
    examples: Sequence[MemberConfig], together: int, trials: int, settings: TrialSettings, resources: TrialResources
) -> Measured:
    """Measure what members cost: as those of the study that have ended did, or as a trial that is timed now.

    examples: one member of each kind, the most important ones first. together: members of a trial, of `trials`.
    """
    earlier = read_results(settings.members_directory)
    questions = [_question(config, together, earlier, settings.schedule) for config in examples[:MOST_KINDS]]
    try:
        answers, launch = _ask(questions, trials, settings, resources)
    except (ray.exceptions.RayError, RuntimeError) as error:
        reason = one_line(getattr(error, "cause", None) or error)
        return _untimed(examples, earlier, settings.schedule, 1 if resources.gpus else together, reason)
    gpu_bytes = answers[0].gpu_bytes
    sharing = 1 if gpu_bytes else together
    costs, timed, ended = {}, 0, 0
    for number, question in enumerate(questions):
        kind, timings = kind_of(question.members[0]), [answer.timings[number] for answer in answers]
        if timings[0].execution in question.known:
            results = earlier[kind][timings[0].execution]
            cost, ended = cost_of(results, settings.schedule, sharing), ended + len(results)
        else:
            cost, timed = _cost_of_timings(timings, settings, sharing), timed + 1
        assert cost is not None
        costs[kind] = cost._replace(start=statistics.median(timing.start for timing in timings))
    trial_bytes = statistics.mean(answer.resident_bytes for answer in answers)
    disk_bytes = max(timing.disk_bytes for answer in answers for timing in answer.timings)
    return Measured(costs, launch, gpu_bytes is not None, trial_bytes, gpu_bytes, disk_bytes, timed, ended)


def _untimed(
    examples: Sequence[MemberConfig], earlier: Results, schedule: Schedule, sharing: int, reason: str
) -> Measured:
    """The costs where no trial could be timed: as fast as ended members, wherever they were."""
    costs, ended = {}, 0
    for kind in map(kind_of, examples):
        results = [result for there in earlier.get(kind, {}).values() for result in there]
        if cost := cost_of(results, schedule, sharing):
            costs[kind] = cost
            ended += len(results)
    return Measured(costs, fused=sharing == 1, ended=ended, failure=reason)


class _Question(NamedTuple):
    """A question to a timed trial about one kind."""

    members: tuple[MemberConfig, ...]
    """Members that the trial has."""
    known: frozenset[Execution]
    """Executions in which ended members have told all but the start."""


class _Timing(NamedTuple):
    """The timing of one kind by one process."""

    start: float
    execution: Execution
    schedule: Schedule
    """Schedule by which members were timed."""
    results: list[Result]
    """Theirs; none where they are known."""
    slow: dict[str, float]
    """Seconds of slow metrics, by name."""
    disk_bytes: float = 0.0
    """Bytes that the largest member took of the disk."""


class _Answer(NamedTuple):
    """The answer of one process."""

    entered: float
    """Time at which it was there, in seconds since the epoch."""
    timings: list[_Timing]
    resident_bytes: float
    gpu_bytes: float | None


def _question(config: MemberConfig, together: int, earlier: Results, schedule: Schedule) -> _Question:
    told = {execution for execution, results in earlier.get(kind_of(config), {}).items() if cost_of(results, schedule)}
    return _Question(tuple(dataclasses.replace(config, seed=seed) for seed in range(together)), frozenset(told))


def _cost_of_timings(timings: Sequence[_Timing], settings: TrialSettings, sharing: int) -> Cost | None:
    cost = cost_of([result for timing in timings for result in timing.results], timings[0].schedule, sharing)
    slow = {name: statistics.median(timing.slow[name] for timing in timings) for name in timings[0].slow}
    during = sum(seconds for name, seconds in slow.items() if name in settings.schedule.metrics)
    if not cost:
        return None
    at_end = cost.end + settings.schedule.evaluation_samples * sum(slow.values())
    end = 0.0 if settings.gpus else at_end  # else another trial's, which holds no GPU
    return cost._replace(evaluation=cost.evaluation + during, end=end)


def _ask(
    questions: Sequence[_Question], trials: int, settings: TrialSettings, resources: TrialResources
) -> tuple[list[_Answer], float]:
    """Have trials timed, as many at once as will run on a node; and the seconds until their processes were there.

    Raises RayError or RuntimeError, where no node gets room after minutes.
    """
    node, room = roomiest_node(resources)
    timed = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus, max_calls=1, max_retries=0)(_time_trial)
    there = timed.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
    asked = time.time()
    pending = [there.remote(list(questions), settings) for _ in range(min(room, trials))]
    try:
        answers = ray.get(pending, timeout=PROBE_SECONDS + 60 * len(questions))
    except BaseException:
        for answer in pending:
            ray.cancel(answer, force=True)
        raise
    return answers, max(0.0, statistics.median(answer.entered for answer in answers) - asked)


def roomiest_node(resources: TrialResources) -> tuple[str, int]:
    """The node that holds most trials at once, and how many."""
    room = {node["NodeID"]: resources.fitting_on(node["Resources"]) for node in ray.nodes() if node["Alive"]}
    best = max(room, key=room.__getitem__)
    return best, max(1, room[best])


def _time_trial(questions: Sequence[_Question], settings: TrialSettings) -> _Answer:
    """Runs in a process of its own, as a trial does."""
    entered = time.time()
    worker = Worker(settings)
    worker.evaluates = True  # results tell the times
    timed_seconds = min(TIMED_SECONDS, ALL_TIMED_SECONDS / len(questions))
    slow: dict[tuple[str, str], float] = {}
    timings = [_time_kind(worker, question, settings, timed_seconds, slow) for question in questions]
    has_gpu = settings.gpus > 0 and torch.cuda.is_available()
    gpu_bytes = torch.cuda.max_memory_reserved() + CONTEXT_BYTES if has_gpu else None
    return _Answer(entered, timings, _resident_bytes(), gpu_bytes)


def _time_kind(
    worker: Worker,
    question: _Question,
    settings: TrialSettings,
    timed_seconds: float,
    slow: dict[tuple[str, str], float],
) -> _Timing:
    """timed_seconds: for about so long iterations are timed. slow: metrics' seconds by data set, completed here."""
    warm_up = Schedule(
        iterations=2, log_every=1, evaluate_every=1, evaluation_size=ENCODING_BATCH, metrics=("l2",), final_metrics=()
    )
    started = time.perf_counter()
    (first, *_), disk_bytes = _train(worker, question.members, warm_up, settings)
    start = time.perf_counter() - started
    is_known = execution_of(first) in question.known
    iterations = TIMED_ROWS if is_known else timed_seconds / first["history"][-1]["seconds_per_iteration"]
    schedule = _short(settings.schedule, iterations)  # where times are known it is for the memory that is taken
    results, _ = _train(worker, question.members, schedule, settings)
    if is_known:
        return _Timing(start, execution_of(first), schedule, [], {}, disk_bytes)
    config = question.members[0]
    specification = datasets.specification(config.dataset)
    at_the_end = () if settings.gpus else settings.schedule.final_metrics
    metrics = dict.fromkeys(settings.schedule.metrics + at_the_end)
    slow_ones = [name for name in applicable(metrics, specification) if METRICS[name].is_slow]
    for name in slow_ones:
        if (name, config.dataset) not in slow:
            slow[name, config.dataset] = _time_metric(name, config, settings.schedule.evaluation_size)
    slow_seconds = {name: slow[name, config.dataset] for name in slow_ones}
    return _Timing(start, execution_of(first), schedule, results, slow_seconds, disk_bytes)


def _train(
    worker: Worker, members: Sequence[MemberConfig], schedule: Schedule, settings: TrialSettings
) -> tuple[list[Result], float]:
    """Results of members that a worker trains from the start, and bytes on disk of the largest of them.

    Raises RuntimeError where one fails, or the machine does.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker.settings = dataclasses.replace(settings, schedule=schedule, members_directory=Path(folder))
        worker.take_on(members)
        is_done = False
        while not is_done:
            report = worker.step()
            is_done = report["done"]
            for news in report["members"].values():
                if news["status"] not in ("running", "finished") or news["reason"]:
                    raise RuntimeError(news["reason"])
        directories = [MemberDirectory(Path(folder) / config.content_hash) for config in members]
        results: list[Result] = [result for directory in directories if (result := directory.read_result())]
        return results, max(2.0 * directory.checkpoint.stat().st_size for directory in directories)


def _short(schedule: Schedule, iterations: float) -> Schedule:
    """The schedule for about so many iterations, without slow metrics, and with an evaluation on the way."""
    log_every = max(1, round(iterations / TIMED_ROWS))
    metrics, final_metrics = (
        tuple(name for name in names if not METRICS[name].is_slow)
        for names in (schedule.metrics, schedule.final_metrics)
    )
    return dataclasses.replace(
        schedule,
        iterations=TIMED_ROWS * log_every,
        log_every=log_every,
        evaluate_every=TIMED_ROWS // 2 * log_every,
        metrics=metrics,
        final_metrics=final_metrics,
    )


def _time_metric(name: str, config: MemberConfig, evaluation_size: int) -> float:
    """Seconds of a slow metric, which takes minutes: fewer images are timed, with codes of no meaning."""
    factors = datasets.specification(config.dataset).factors
    labels = factors.select(config.labels)
    generator = np.random.default_rng(0)
    size = min(SLOW_SAMPLE, evaluation_size)
    classes = generator.integers(factors.sizes, size=(size + (size // 2 or 1), factors.num_factors))
    codes = generator.standard_normal((len(classes), len(config.labels) + config.z_dim), np.float32)
    columns = factors.columns(config.labels)
    sample = Sample(codes[:size], classes[:size], columns, labels, codes[size:], classes[size:])
    started = time.perf_counter()
    computation(name)(sample, generator)
    return (time.perf_counter() - started) * evaluation_size / size


def _resident_bytes() -> float:
    """Bytes that this process takes of the node's memory; what it shares is divided by the sharers, where known."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak if sys.platform == "darwin" else 1024 * peak)
