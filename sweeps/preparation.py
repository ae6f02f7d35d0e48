"""What a study needs before its first trial: checks, Ray, prepared data, and what a trial takes of a node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray

from larvae import datasets
from larvae.config import MemberConfig
from larvae.datasets import store
from sweeps import connection
from sweeps.options import StudyOptions
from sweeps.packing import TrialResources, trial_resources
from sweeps.study import Study, StudyDirectory, require_writable
from sweeps.tracking import require_reachable
from sweeps.trainable import PreparedFile, TrialSettings


class Prepared(NamedTuple):
    """What is known of a study before it starts."""

    directory: StudyDirectory
    files: dict[str, Path]
    """The prepared file of each data set."""
    fingerprints: dict[str, str]
    """Of the images of each data set."""
    resources: TrialResources


def prepare(study: Study, options: StudyOptions, sample: Sequence[MemberConfig]) -> Prepared:
    """Check, connect to Ray, prepare data, measure; write nothing into the study's folder or to MLflow.

    sample: members like those of the study, of which the largest tells what a trial takes.
    Raises InvalidInputError.
    """
    names = tuple(dict.fromkeys(member.dataset for member in sample))
    require_writable("storage_path", options.storage_path)
    directory = StudyDirectory((options.storage_path / study.name).absolute())
    directory.require_going_on(study, {})  # before anything is started; again once the images are known
    require_writable("LARVAE_CACHE_DIR", store.cache_directory())
    require_reachable(options.tracking_uri)
    for name in names:
        datasets.verify(name, options.data_files.get(name))
    connection.connect(options.address)
    files = {name: datasets.prepare(name, options.data_files.get(name), progress=True) for name in names}
    fingerprints = {name: datasets.open_dataset(name, path).fingerprint for name, path in files.items()}
    resources = trial_resources(options.cpus_per_trial, options.gpus_per_trial, options.members_per_trial, sample)
    resources.require_fitting()
    directory.require_going_on(study, fingerprints)
    return Prepared(directory, files, fingerprints, resources)


def trial_settings(options: StudyOptions, prepared: Prepared) -> TrialSettings:
    """What all trials share. Prepared files that other nodes cannot make go into Ray's object store."""
    files = {}
    for name, path in prepared.files.items():
        if name in options.data_files or not datasets.specification(name).is_rendered:
            content = ray.put(np.asarray(np.memmap(path, np.uint8, "r"))) if options.address else None
            files[name] = PreparedFile(path, content, prepared.fingerprints[name])
    return TrialSettings(
        schedule=options.schedule,
        members_directory=prepared.directory.path / "members",
        prepared_files=files,
        fingerprints=prepared.fingerprints,
        cpus=prepared.resources.cpus,
        gpus=prepared.resources.gpus,
        compile=options.compile,
    )
