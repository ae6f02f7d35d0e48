"""Runs a study: checks, connects, trains what is unfinished, and tells what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import ray
import torch
from ray import tune
from rich.console import Console

from larvae import datasets
from larvae.command_line import INTERRUPTED
from larvae.config import MemberConfig
from larvae.datasets import store
from larvae.errors import InvalidInputError
from larvae.member import Row
from sweeps import connection
from sweeps.options import StudyOptions
from sweeps.packing import TrialResources, groups, trial_resources
from sweeps.progress import StudyProgress, duration, results_table
from sweeps.reporting import MemberReporter, trial_name
from sweeps.study import Study, StudyDirectory, require_writable
from sweeps.tracking import UNREACHABLE, Tracker, require_reachable, source_tags
from sweeps.trainable import MemberTrainable, PreparedFile, TrialSettings


def default_preset(address: str | None) -> str:
    """`paper` where Ray will have GPUs, `quick` elsewhere."""
    if address is not None:
        connection.connect(address)
        return "paper" if ray.cluster_resources().get("GPU", 0) > 0 else "quick"
    return "paper" if torch.cuda.is_available() else "quick"


def run_study(study: Study, options: StudyOptions) -> int:
    """Run a study to its end, or go on with it. Returns the exit code: 0, 1 with failed members, 130 interrupted.

    Raises InvalidInputError before anything is written.
    """
    require_writable("storage_path", options.storage_path)
    require_writable("LARVAE_CACHE_DIR", store.cache_directory())
    require_reachable(options.tracking_uri)
    for name in study.datasets:
        datasets.verify(name, options.data_files.get(name))
    connection.connect(options.address)
    prepared = {name: datasets.prepare(name, options.data_files.get(name), progress=True) for name in study.datasets}
    fingerprints = {name: datasets.open_dataset(name, path).fingerprint for name, path in prepared.items()}
    resources = trial_resources(
        options.cpus_per_trial, options.gpus_per_trial, options.members_per_trial, study.members
    )
    resources.require_fitting()
    directory = StudyDirectory((options.storage_path / study.name).absolute())
    directory.require_going_on(study, fingerprints)
    with directory.locked():
        directory.write_record(study, fingerprints)
        settings = _settings(options, directory, prepared, fingerprints, resources)
        return _run_locked(study, options, directory, fingerprints, settings, resources)


def _run_locked(
    study: Study,
    options: StudyOptions,
    directory: StudyDirectory,
    fingerprints: Mapping[str, str],
    settings: TrialSettings,
    resources: TrialResources,
) -> int:
    console = Console(highlight=False, soft_wrap=True)
    tracker = _track(options.tracking_uri, study, directory, fingerprints)
    todo = directory.unfinished(study)
    _announce(study, todo, options, resources, tracker.runs_page, console)
    started = time.monotonic()
    interrupted = False
    if todo:
        labels = {member.content_hash: study.label(member) for member in todo}
        slots = resources.concurrency() * resources.members
        with StudyProgress(labels, study.schedule.iterations, slots, console) as progress:
            reporter = MemberReporter(tracker, progress, directory)
            try:
                interrupted = _train_all(todo, settings, resources.members, directory, reporter, console)
            except BaseException:  # no run stays RUNNING, whatever happened
                reporter.stop()
                tracker.close("failed")
                raise
    failed = _summarise(study, directory, console)
    status = "stopped" if interrupted else "failed" if failed else "finished"
    complete = tracker.close(status)
    console.print(f"\n{duration(time.monotonic() - started)}; results in {directory.path}")
    if not complete:
        console.print("MLflow has not received everything: the same command again sends it.")
    if interrupted:
        console.print("Stopped. The same command again goes on from the last checkpoints.")
        return INTERRUPTED
    _advise(study, options, console)
    for name, reason in failed.items():
        print(f"error: member {name} failed: {reason}", file=sys.stderr)
    return 1 if failed or not complete else 0


def _track(uri: str, study: Study, directory: StudyDirectory, fingerprints: Mapping[str, str]) -> Tracker:
    try:
        return Tracker(uri, study, directory, fingerprints, source_tags())
    except UNREACHABLE as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInputError(f"`tracking_uri` must take a study's runs, got {uri}: {reason}") from None


def _settings(
    options: StudyOptions,
    directory: StudyDirectory,
    prepared: Mapping[str, Path],
    fingerprints: Mapping[str, str],
    resources: TrialResources,
) -> TrialSettings:
    """prepared: the prepared file of each data set. Those that other nodes cannot make go into Ray's object store."""
    files = {}
    for name, path in prepared.items():
        if name in options.data_files or not datasets.specification(name).is_rendered:
            content = ray.put(np.asarray(np.memmap(path, np.uint8, "r"))) if options.address else None
            files[name] = PreparedFile(path, content, fingerprints[name])
    return TrialSettings(
        schedule=options.schedule,
        members_directory=directory.path / "members",
        prepared_files=files,
        fingerprints=fingerprints,
        cpus=resources.cpus,
        gpus=resources.gpus,
        compile=options.compile,
    )


def _train_all(
    todo: Sequence[MemberConfig],
    settings: TrialSettings,
    members_per_trial: int,
    directory: StudyDirectory,
    reporter: MemberReporter,
    console: Console,
) -> bool:
    """Train all members, those that ran out of GPU memory once more, alone; True if the user stopped it."""
    interrupted = _train(groups(todo, members_per_trial), settings, directory, reporter)
    if reporter.out_of_memory and not interrupted:
        again = list(reporter.out_of_memory.values())
        console.print(f"Out of GPU memory: {len(again)} members are tried again, each alone on a whole GPU")
        reporter.out_of_memory.clear()
        alone = dataclasses.replace(settings, gpus=max(1.0, settings.gpus))
        interrupted = _train(groups(again, 1), alone, directory, reporter)
        reporter.give_up_out_of_memory()
    return interrupted


def _train(
    trials: list[list[MemberConfig]],
    settings: TrialSettings,
    directory: StudyDirectory,
    reporter: MemberReporter,
) -> bool:
    """Hand the members of each trial to Ray Tune; True if the user stopped it."""
    shutil.rmtree(directory.scheduler_files, ignore_errors=True)  # an earlier command's
    trainable = tune.with_parameters(MemberTrainable, settings=settings)
    trainable = tune.with_resources(trainable, {"cpu": settings.cpus, "gpu": settings.gpus})
    trainable.__qualname__ = trainable.__name__ = MemberTrainable.__name__  # as the Ray dashboard shows it
    tuner = tune.Tuner(
        trainable,
        param_space={"members": tune.grid_search([[member.to_dict() for member in trial] for trial in trials])},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(directory.scheduler_files),
            failure_config=tune.FailureConfig(max_failures=3),
            callbacks=[reporter],
            verbose=0,
        ),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's notice is a Ctrl-C
    with contextlib.suppress(KeyboardInterrupt):
        tuner.fit()
    waiting = {name for name, status in reporter.progress.status.items() if status == "waiting"}
    interrupted = bool(reporter.open or waiting - reporter.out_of_memory.keys())
    reporter.stop()
    return interrupted


def _announce(
    study: Study,
    todo: list[MemberConfig],
    options: StudyOptions,
    resources: TrialResources,
    runs_page: str,
    console: Console,
) -> None:
    """Tell what starts and where to watch it."""
    finished = len(study.members) - len(todo)
    already = f", {finished} of them finished before" if finished else ""
    share = f"{resources.cpus} CPU" + (f" and {resources.gpus:.3g} GPU" if resources.gpus else "")
    at_once = f"{resources.concurrency()} at once, {share} each"
    if resources.members > 1:
        at_once = f"{resources.concurrency()} trials of {resources.members} members at once, {share} a trial"
    size = f"{len(study.members)} members × {study.schedule.iterations:,} iterations"
    console.print(f"Study {study.name}: {size}{already}; {at_once}")
    if url := connection.dashboard_url():
        console.print(f"Ray dashboard (while this runs): {url}")
    console.print(f"MLflow: {_mlflow_address(options.tracking_uri, runs_page)}")


def _summarise(study: Study, directory: StudyDirectory, console: Console) -> dict[str, str]:
    """Print the final table; return the failed members' reasons by label."""
    labels = {member.content_hash: study.label(member) for member in study.members}
    results: dict[str, tuple[str, Row]] = {}
    failed: dict[str, str] = {}
    for member in study.members:
        name, files = member.content_hash, directory.member(member)
        result = files.read_result()
        if row := files.last_evaluation(study.schedule.iterations):
            results[name] = ("finished", row)
        elif result and result["status"] == "failed":
            results[name] = ("failed", (result["history"] or [{}])[-1])
            failed[labels[name]] = result["reason"]
        else:
            results[name] = ("unfinished", {})
    console.print(results_table(labels, results))
    return failed


def _advise(study: Study, options: StudyOptions, console: Console) -> None:
    places = f"--tracking-uri {shlex.quote(options.tracking_uri)} --study {study.name} --output figures"
    console.print(f"Figure: python {options.figure_command} {places}")
    console.print(f"Label traversals: python analysis/traversals.py {places}")


def _mlflow_address(uri: str, page: str) -> str:
    if uri.startswith("http"):
        return uri.rstrip("/") + page
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}, then http://127.0.0.1:5000{page}"
