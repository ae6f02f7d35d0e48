"""Runs a study whose members are known: trains what is unfinished, and tells what came of it."""

from __future__ import annotations

import functools

from sweeps.console.progress import StudyProgress
from sweeps.console.terminal import new_console
from sweeps.driver import tuner
from sweeps.driver.member_reporter import MemberReporter
from sweeps.options import StudyOptions
from sweeps.outcome import outcome
from sweeps.planning.plan import Work, plan_study
from sweeps.preparation import Prepared, Trials, prepare, trial_settings
from sweeps.resources.shares import TrialResources, groups, size
from sweeps.session import held
from sweeps.study import Study


def run_study(study: Study, options: StudyOptions) -> int:
    """Run a study to its end, or go on with it. Returns the exit code: 0, 1 with failed members, 130 interrupted.

    Raises InvalidInputError before anything is written.
    """
    console = new_console()
    prepared = prepare(study, options, _trials(study), console)
    settings, resources, directory = trial_settings(study, options, prepared), prepared.resources, prepared.directory
    if options.plan:
        plan_study(_work(study, prepared), settings, resources, options.price, console)
        return 0
    with held(study, options, prepared, console) as session:
        todo = directory.unfinished(study)
        session.announce(_heading(study, len(todo), resources))
        interrupted = False
        if todo:
            labels = {member.content_hash: study.label(member) for member in todo}
            slots = resources.concurrency() * resources.members
            reached = {member.content_hash: directory.reached(member) for member in todo}
            with StudyProgress(labels, study.schedule.iterations, slots, console, reached) as progress:
                reporter = MemberReporter(session.tracker, progress, directory)
                with session.reporting(reporter):
                    interrupted = tuner.train_all(todo, settings, resources, directory, reporter, console)
        return session.close(outcome(study, directory), interrupted=interrupted)


def _trials(study: Study) -> Trials:
    """The trials of a study whose members are known."""
    unfinished = functools.cache(lambda directory: directory.unfinished(study))
    return Trials(
        sample=study.members,
        together=max(map(len, groups(study.members, len(study.members)))),
        total=len(study.members),
        sizes=lambda directory, members: list(map(len, groups(unfinished(directory), members))),
    )


def at_once(resources: TrialResources) -> str:
    """The trials that run at once on the cluster, in words."""
    share = f"{resources.cpus} CPU" + (f" and {_gpu_shares(resources)} GPU" if resources.gpus else "")
    if resources.members > 1:
        return f"{resources.concurrency()} trials of {resources.members} members at once, {share} a trial"
    return f"{resources.concurrency()} at once, {share} each"


def _gpu_shares(resources: TrialResources) -> str:
    """Shares in words, such as `0.167`, or `0.167 (gpu_16GB) or 0.0833 (gpu_32GB)` where GPUs differ."""
    if not resources.places:
        return f"{resources.gpus:.3g}"
    return " or ".join(f"{place.gpus:.3g} ({place.resource})" for place in resources.places)


def _heading(study: Study, num_unfinished: int, resources: TrialResources) -> str:
    finished = len(study.members) - num_unfinished
    already = f", {finished} of them finished before" if finished else ""
    size = f"{len(study.members)} members × {study.schedule.iterations:,} iterations"
    return f"Study {study.name}: {size}{already}; {at_once(resources)}"


def _work(study: Study, prepared: Prepared) -> Work:
    todo = prepared.directory.unfinished(study)
    iterations = study.schedule.iterations
    trials = groups(todo, prepared.resources.members)
    return Work(
        trials=tuple(tuple(iterations - prepared.directory.reached(member) for member in trial) for trial in trials),
        example=max(study.members, key=size),
        finished=len(study.members) - len(todo),
        members=len(study.members),
        configs=tuple(map(tuple, trials)),
    )
