"""Trains the members that are missing, at the lowest priority, and keeps each that has ended as one small file."""

from __future__ import annotations

import contextlib
import datetime
import functools
import sys
from pathlib import Path

import torch

from larvae import datasets
from larvae.compiling import can_compile
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError, NonFiniteLossError, one_line
from larvae.files import HeldError, load_json, locked, save_json
from larvae.hardware import processor_name
from larvae.member import train_member
from larvae.member_directory import MemberDirectory, Row
from larvae.progress_bar import progress_bar
from sweeps.kept.kept_studies import KeptStudy
from sweeps.study import label
from sweeps.tracking.provenance import git_commit


def train_missing(study: KeptStudy, kept: Path, storage: Path, most: int | None, threads: int) -> list[str]:
    """Train members that have not ended, one after another, each to its end; their statuses.

    kept: folder of the ended ones. storage: folder of checkpoints of the others. most: how many to train; None for all.
    """
    torch.set_num_threads(threads)
    commit = git_commit()  # of the code that is loaded, whatever the checkout is moved to meanwhile
    opened = functools.cache(lambda name: datasets.open_dataset(name, datasets.prepare(name, progress=True)))
    statuses: list[str] = []
    for member in study.members:
        if len(statuses) == most:
            break
        if status := _train_if_missing(member, study, opened(member.dataset), kept, storage, commit):
            statuses.append(status)
    return statuses


def kept_file(member: MemberConfig, kept: Path) -> Path:
    """The file that keeps an ended member."""
    return kept / f"{member.content_hash}.json"


def _train_if_missing(
    member: MemberConfig, study: KeptStudy, dataset: Dataset, kept: Path, storage: Path, commit: str
) -> str | None:
    """Train a member to its end and keep it: finished or failed; None where it has ended or another process has it."""
    file, directory = kept_file(member, kept), MemberDirectory(storage / member.content_hash)
    try:
        with locked(directory.path / ".lock", waits=False):
            if file.exists():
                return None
            commits = _with_commit(directory.path / "commits.json", commit)
            _train(member, study, dataset, directory)
            result = directory.read_result()
            assert result is not None
            ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            seconds = sum(row["seconds"] for row in result["history"])
            of_machine = {"processor": processor_name(), "commits": commits, "seconds": seconds, "ended": ended}
            save_json(file, {**result, **of_machine})
            return str(result["status"])
    except HeldError:
        return None


def _train(member: MemberConfig, study: KeptStudy, dataset: Dataset, directory: MemberDirectory) -> None:
    """Train a member to its end, with a bar that shows how far it is."""
    title = label(member, study.varied)
    history: list[Row] = []
    reached = 0.0
    with progress_bar(study.schedule.iterations, title, "iterations") as advance:
        try:
            for row in train_member(member, study.schedule, dataset, directory, compiled=can_compile()):
                history.append(row)
                advance(int(row["iteration"] - reached))
                reached = row["iteration"]
        except NonFiniteLossError as error:
            print(f"{title}: {one_line(error)}", file=sys.stderr)
            directory.write_failure(member, error, history)


def _with_commit(path: Path, commit: str) -> list[str]:
    """The commits that a member has been trained by, this one among them."""
    commits: list[str] = []
    with contextlib.suppress(FileNotFoundError, InvalidInputError, LookupError, TypeError):  # damaged, it tells less
        commits = list(load_json(path)["commits"])
    if commit not in commits:
        commits.append(commit)
        save_json(path, {"commits": commits})
    return commits
