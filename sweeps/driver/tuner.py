"""Hands trials to Ray Tune: those of a grid, or those of another searcher."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from ray import tune
from rich.console import Console

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.driver.gauges import StudyGauges
from sweeps.driver.many_trials import report_seconds, tune_for
from sweeps.driver.member_reporter import MemberReporter, trial_name
from sweeps.driver.moving import Moving
from sweeps.driver.queueing import MemberQueue
from sweeps.driver.stopping import is_asked, stoppable
from sweeps.driver.waiting import NodeWatch
from sweeps.driver.watchdog import Watchdog
from sweeps.resources.places import Places, request
from sweeps.resources.shares import TrialResources, groups, halves
from sweeps.study import StudyDirectory
from sweeps.trial.trainable import MemberTrainable
from sweeps.trial.trial_settings import TrialSettings

MOST_DEATHS = 50
"""Deaths of a trial's process; spot nodes go many times in a long training. One that dies always at the same iteration
is given up much earlier, by `MemberTrainable`."""


def train_all(
    todo: Sequence[MemberConfig],
    settings: TrialSettings,
    resources: TrialResources,
    directory: StudyDirectory,
    reporter: MemberReporter,
    console: Console,
) -> bool:
    """Train all members, those that ran out of GPU memory again with fewer together; True if the user stopped it."""
    interrupted = _train(groups(todo, resources.members), settings, resources, directory, reporter)
    return interrupted or train_fewer_together(settings, resources, directory, reporter, console)


def train_fewer_together(
    settings: TrialSettings,
    resources: TrialResources,
    directory: StudyDirectory,
    reporter: MemberReporter,
    console: Console,
) -> bool:
    """Train the members that ran out of GPU memory, if any; True if the user stopped it.

    The members of a trial are tried again in two of half its size, with the same share; at last each alone, on a whole
    GPU.
    """
    alone: list[list[MemberConfig]] = []
    while ran_out := reporter.take_out_of_memory():
        alone += [members for members in ran_out if len(members) == 1]
        smaller = [half for members in ran_out if len(members) > 1 for half in halves(members)]
        if smaller:
            number = sum(map(len, smaller))
            console.print(f"Out of GPU memory: {number} members are tried again, half as many of a trial together")
            if _train(smaller, settings, resources, directory, reporter):
                return True
    if not alone:
        return False
    console.print(f"Out of GPU memory: {len(alone)} members are tried again, each alone on a whole GPU")
    settings = dataclasses.replace(settings, gpus=max(1.0, settings.gpus))
    interrupted = _train(alone, settings, resources.of_whole_gpus(settings.gpus), directory, reporter)
    reporter.give_up_out_of_memory()
    return interrupted


def _train(
    trials: list[list[MemberConfig]],
    settings: TrialSettings,
    resources: TrialResources,
    directory: StudyDirectory,
    reporter: MemberReporter,
) -> bool:
    """Train the members of each trial; True if the user stopped it, perhaps when the trials before had just ended."""
    if is_asked():
        return True
    fit(MemberQueue(trials, Places(resources.places), reporter.evaluations), settings, resources, directory, reporter)
    names = {member.content_hash for members in trials for member in members}
    waiting = {name for name in names if reporter.progress.status[name] == "waiting"}
    ran_out = {member.content_hash for members in reporter.out_of_memory for member in members}
    interrupted = bool(reporter.open or waiting - ran_out)
    reporter.stop()
    return interrupted


class PlacedSearcher(Protocol):
    """A searcher of Ray Tune's that gives each trial its members and its place."""

    places: Places


def fit(
    searcher: PlacedSearcher,
    settings: TrialSettings,
    resources: TrialResources,
    directory: StudyDirectory,
    reporter: MemberReporter,
    stopper: tune.Stopper | None = None,
) -> None:
    """Run Tune to its end, or until the user stops it. stopper: tells which trials to end before theirs.

    Raises NodesLostError when no node has been left for minutes, and OSError where the driver's own files cannot be
    written.
    """
    shutil.rmtree(directory.scheduler_files, ignore_errors=True)  # an earlier command's
    at_once = resources.concurrency()
    reporter.evaluations.spare = resources.spare()
    settings = dataclasses.replace(settings, report_seconds=report_seconds(at_once))
    trainable = tune.with_parameters(MemberTrainable, settings=settings)
    trainable = tune.with_resources(trainable, lambda config: request(config, resources.cpus, resources.gpus))
    watch, gauges = NodeWatch(reporter.progress.note), StudyGauges(directory.path.name, reporter.progress)
    trainable.__qualname__ = trainable.__name__ = MemberTrainable.__name__  # as the Ray dashboard shows it
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            reuse_actors=settings.reuses_processes,
            search_alg=searcher,
            num_samples=-1,
            scheduler=Moving(searcher.places, resources.cpus, reporter.progress.note),
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(directory.scheduler_files),
            failure_config=tune.FailureConfig(max_failures=MOST_DEATHS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[reporter, gauges, watch, Watchdog(reporter, settings.report_seconds)],
            verbose=0,
            stop=stopper,
        ),
    )
    with contextlib.suppress(KeyboardInterrupt), tune_for(at_once), stoppable(reporter.tell_of_stop), _own_errors():
        tuner.fit()
    watch.require_nodes()


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Within this, what a callback raises is raised as it is: Tune makes an error of its traceback's text."""
    try:
        yield
    except tune.TuneError as error:
        raise (error.__context__ if isinstance(error.__context__, OSError | InvalidInputError) else error) from None
