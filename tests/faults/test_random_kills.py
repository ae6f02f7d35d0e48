"""SIGKILL at any moment, to any process of a study: the same command goes on, and the study comes to the same end."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from larvae.config import Schedule
from larvae.datasets import Dataset
from tests.sweeps.commands import (
    SCHEDULE,
    assert_nothing_lost,
    read_results,
    script,
)
from tests.sweeps.processes import TrainingWatch, running, wait_until

KILLS = 24
KINDS = ("driver", "MemberTrainable", "raylet", "gcs_server", "another")
"""Kinds of processes; the last one are Ray's agents and monitors, and its workers that wait."""
LONG = replace(SCHEDULE, iterations=400, log_every=20, evaluate_every=200)
FLAGS = ("--taus", "0", "1", "5", "--gpus-per-trial", "0", "--checkpoint-seconds", "0.5")


class Killer:
    """Kills processes of commands, each kind as often as any other."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.killed = Counter(dict.fromkeys(KINDS, 0))

    def kill_one(self, command: psutil.Process) -> None:
        """Kill a command's process, or one that it has started, or one of theirs."""
        kinds: dict[str, list[psutil.Process]] = {}
        for process in (command, *command.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                kinds.setdefault(kind_of(process, command), []).append(process)
        fewest = min(self.killed[kind] for kind in kinds)
        kind = self._random.choice([kind for kind in kinds if self.killed[kind] == fewest])
        with contextlib.suppress(psutil.NoSuchProcess):
            self._random.choice(kinds[kind]).kill()
            self.killed[kind] += 1

    def run(self, command: list[str], folder: Path, log: Path) -> bool:
        """Run a command and kill something in the midst of its training; True if it ends well all the same."""
        with running(command, folder, log) as process:
            watch = TrainingWatch(process.pid, cpu_seconds=0.1)
            while process.poll() is None and self.killed.total() < KILLS:
                wait_until(lambda: watch.trials(1) or process.poll() is not None, "a trial in training")
                time.sleep(self._random.uniform(0, 3))
                if process.poll() is None:
                    self.kill_one(psutil.Process(process.pid))
                time.sleep(1)  # until it has come to something
            return process.wait(timeout=300) == 0


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of any process: driver, trial, raylet, GCS, Ray's agents",
    "the same command goes on; members, MLflow and states as if uninterrupted, bit for bit",
)
def test_whatever_is_killed_the_study_comes_to_the_same_end(
    folder: Path,
    empty_database: Path,
    dataset: Dataset,
    alone: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    killer = Killer(seed=23)
    for number in itertools.count():
        study, log = folder / str(number), tmp_path / f"{number}.txt"
        study.mkdir()
        shutil.copy(empty_database, study / "mlflow.db")
        command = script(study, *FLAGS, schedule=LONG)
        for _ in range(KILLS + 1):
            if killer.run(command, study, log):
                break
        assert_ended_well(study, LONG, dataset, alone, log)
        if killer.killed.total() >= KILLS:
            break
    record_property("times", killer.killed.total())
    record_property("killed", dict(killer.killed))
    assert min(killer.killed.values()) > 1


def kind_of(process: psutil.Process, command: psutil.Process) -> str:
    """The kind of a process below a command's."""
    name = "driver" if process == command else process.name()
    return next((kind for kind in KINDS if kind in name), "another")


def assert_ended_well(folder: Path, schedule: Schedule, dataset: Dataset, alone: Path, log: Path) -> None:
    """All members have finished, on disk, in MLflow and to the bit, and no command has printed a traceback."""
    told = log.read_text()
    assert "Traceback" not in told, told
    assert len(read_results(folder)) == 3, told
    assert_nothing_lost(folder, schedule, dataset, alone)
