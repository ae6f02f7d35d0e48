"""Preparation of a study for its first trial: checks, Ray, prepared data, and what a trial takes of a node."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray
import torch
from rich.console import Console

from larvae import datasets
from larvae.config import MemberConfig
from larvae.datasets import store
from larvae.errors import InvalidInputError
from sweeps.console.terminal import working
from sweeps.driver import connection
from sweeps.options import StudyOptions
from sweeps.preflight.gathering import gpu_nodes
from sweeps.preflight.inspection import demand_of, require_ready
from sweeps.resources.allocation import Request, allocate
from sweeps.resources.gpu_kinds import GpuKind, gpu_kinds
from sweeps.resources.missing_gpus import ADVICE, MUST_BE_FOUND, may_be_missing
from sweeps.resources.rates import GpuRates, read_rates
from sweeps.resources.shares import TrialResources
from sweeps.study import Study, StudyDirectory, require_writable
from sweeps.tracking.addresses import sqlite_path
from sweeps.tracking.tracker import require_reachable
from sweeps.trial.trial_settings import PreparedFile, TrialSettings


class Prepared(NamedTuple):
    """The facts of a study that are known before it starts."""

    directory: StudyDirectory
    files: dict[str, Path]
    """The prepared file of each data set."""
    fingerprints: dict[str, str]
    """Fingerprints of the images of each data set."""
    resources: TrialResources
    rates: tuple[GpuRates, ...] = ()
    """Rates of the cluster's GPUs that this rests upon."""


class Trials(NamedTuple):
    """The trials of a study, as far as they are known before it starts."""

    sample: Sequence[MemberConfig]
    """Members like those of the study: the largest of them is measured."""
    together: int
    """Members that are alike, at most, and could be of one trial."""
    total: int
    """Members of the study."""
    sizes: Callable[[StudyDirectory, int], Sequence[int]]
    """Members of each trial that a folder leaves to do, given the most that one has."""


def prepare(study: Study, options: StudyOptions, trials: Trials, console: Console) -> Prepared:
    """Check, connect to Ray, prepare data, measure; write nothing into the study's folder or to MLflow.

    Raises InvalidInputError.
    """
    names = tuple(dict.fromkeys(member.dataset for member in trials.sample))
    _require_lasting("storage_path", options.where.storage_path)
    if database := sqlite_path(options.where.tracking_uri):
        _require_lasting("tracking_uri", database)
    require_writable("storage_path", options.where.storage_path)
    directory = StudyDirectory((options.where.storage_path / study.name).absolute())
    directory.require_going_on(study, {})  # before anything is started; again once the images are known
    with working("opening MLflow", console):
        require_reachable(options.where.tracking_uri)
    if not all(datasets.place(name, options.data_files.get(name)).exists() for name in names):
        require_writable("LARVAE_CACHE_DIR", store.cache_directory())
    connection.connect(options.where.address)
    kinds = _preflight(options, names, console) if options.where.address and options.where.preflight else []
    files = {name: datasets.prepare(name, options.data_files.get(name), progress=True) for name in names}
    fingerprints = {name: datasets.open_dataset(name, path).fingerprint for name, path in files.items()}
    _require_cuda(options)
    kept = read_rates(directory.gpu_rates)
    resources, rates = allocate(_request(options, trials, directory), kinds, kept, console.print)
    resources.require_fitting()
    directory.require_going_on(study, fingerprints)
    return Prepared(directory, files, fingerprints, resources, rates)


def _request(options: StudyOptions, trials: Trials, directory: StudyDirectory) -> Request:
    return Request(
        sample=trials.sample,
        together=trials.together,
        total=trials.total,
        sizes=lambda members: trials.sizes(directory, members),
        cpus=options.where.cpus_per_trial,
        gpus=options.where.gpus_per_trial,
        members=options.where.members_per_trial,
        compiles=options.where.compile,
        probe_minutes=options.where.probe_minutes,
    )


def _require_cuda(options: StudyOptions) -> None:
    """Raise InvalidInputError where this machine's Ray has GPUs for trials, and PyTorch finds none."""
    if options.where.address or options.where.gpus_per_trial == 0 or may_be_missing():
        return  # a cluster is asked by its preflight
    if ray.cluster_resources().get("GPU", 0) > 0 and not torch.cuda.is_available():
        raise InvalidInputError(f"{MUST_BE_FOUND}: {ADVICE}")


def _require_lasting(name: str, path: Path) -> None:
    """Raise InvalidInputError for a path in a submitted job's working directory, which Ray deletes after the job."""
    if "working_dir_files" in path.absolute().parts:
        raise InvalidInputError(
            f"`{name}` must outlive the job, got `{path}` in the job's own copy of the working directory: "
            "give a whole path, of a folder that all nodes share"
        )


def _preflight(options: StudyOptions, names: tuple[str, ...], console: Console) -> list[GpuKind]:
    """Ask all nodes of a cluster whether the study can run there, and what GPUs they have. Raises InvalidInputError."""
    where = options.where
    demand = demand_of(where.storage_path, where.tracking_uri, names, where.cpus_per_trial, where.gpus_per_trial)
    return gpu_kinds(gpu_nodes(require_ready(demand, console).nodes))


def trial_settings(study: Study, options: StudyOptions, prepared: Prepared) -> TrialSettings:
    """The settings that all trials share. Prepared files that other nodes cannot make go into Ray's object store."""
    files = {}
    for name, path in prepared.files.items():
        if name in options.data_files or not datasets.specification(name).is_rendered:
            content = ray.put(np.asarray(np.memmap(path, np.uint8, "r"))) if options.where.address else None
            files[name] = PreparedFile(path, content, prepared.fingerprints[name])
    return TrialSettings(
        schedule=options.schedule,
        members_directory=prepared.directory.path / "members",
        prepared_files=files,
        fingerprints=prepared.fingerprints,
        cpus=prepared.resources.cpus,
        gpus=prepared.resources.gpus,
        compile=options.where.compile,
        command=secrets.token_hex(8),
        varied=study.varied,
        gpus_may_be_missing=may_be_missing(),
    )
