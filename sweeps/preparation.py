"""Preparation of a study for its first trial: checks, Ray, prepared data, and what a trial takes of a node."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray
from rich.console import Console

from larvae import datasets
from larvae.config import MemberConfig
from larvae.datasets import store
from larvae.errors import InvalidInputError
from sweeps.driver import connection
from sweeps.options import StudyOptions
from sweeps.preflight.checks import Demand
from sweeps.preflight.gathering import gpu_nodes
from sweeps.preflight.inspection import prepared_names, require_ready
from sweeps.resources.gpu_kinds import GpuKind, gpu_kinds
from sweeps.resources.shares import TrialResources, trial_resources
from sweeps.study import Study, StudyDirectory, require_writable
from sweeps.tracking.addresses import sqlite_path
from sweeps.tracking.tracker import require_reachable
from sweeps.trial.worker import PreparedFile, TrialSettings


class Prepared(NamedTuple):
    """The facts of a study that are known before it starts."""

    directory: StudyDirectory
    files: dict[str, Path]
    """The prepared file of each data set."""
    fingerprints: dict[str, str]
    """Fingerprints of the images of each data set."""
    resources: TrialResources


def prepare(study: Study, options: StudyOptions, sample: Sequence[MemberConfig], console: Console) -> Prepared:
    """Check, connect to Ray, prepare data, measure; write nothing into the study's folder or to MLflow.

    sample: members like those of the study, of which the largest tells what a trial takes.
    Raises InvalidInputError.
    """
    names = tuple(dict.fromkeys(member.dataset for member in sample))
    _require_lasting("storage_path", options.where.storage_path)
    if database := sqlite_path(options.where.tracking_uri):
        _require_lasting("tracking_uri", database)
    require_writable("storage_path", options.where.storage_path)
    directory = StudyDirectory((options.where.storage_path / study.name).absolute())
    directory.require_going_on(study, {})  # before anything is started; again once the images are known
    require_writable("LARVAE_CACHE_DIR", store.cache_directory())
    require_reachable(options.where.tracking_uri)
    for name in names:
        datasets.verify(name, options.data_files.get(name))
    connection.connect(options.where.address)
    kinds = _preflight(options, names, console) if options.where.address and options.where.preflight else []
    files = {name: datasets.prepare(name, options.data_files.get(name), progress=True) for name in names}
    fingerprints = {name: datasets.open_dataset(name, path).fingerprint for name, path in files.items()}
    given = (options.where.cpus_per_trial, options.where.gpus_per_trial, options.where.members_per_trial)
    resources = trial_resources(*given, sample, kinds, console.print)
    resources.require_fitting()
    directory.require_going_on(study, fingerprints)
    return Prepared(directory, files, fingerprints, resources)


def _require_lasting(name: str, path: Path) -> None:
    """Raise InvalidInputError for a path in a submitted job's working directory, which Ray deletes after the job."""
    if "working_dir_files" in path.absolute().parts:
        raise InvalidInputError(
            f"`{name}` must outlive the job, got `{path}` in the job's own copy of the working directory: "
            "give a whole path, of a folder that all nodes share"
        )


def _preflight(options: StudyOptions, names: tuple[str, ...], console: Console) -> list[GpuKind]:
    """Ask all nodes of a cluster whether the study can run there, and what GPUs they have. Raises InvalidInputError."""
    demand = Demand(
        storage=options.where.storage_path,
        tracking_uri=options.where.tracking_uri,
        prepared=prepared_names(names),
        cpus=options.where.cpus_per_trial,
        gpus=options.where.gpus_per_trial or 0.0,
    )
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
    )
