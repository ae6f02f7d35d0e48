"""Killed and interrupted in the midst of training, a study comes to the same end, bit for bit."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.member import train_member
from larvae.member_directory import MemberDirectory
from tests.sweeps.commands import (
    SCHEDULE,
    STUDY,
    assert_nothing_lost,
    count_points,
    read_results,
    script,
    statuses,
    sweep,
)
from tests.sweeps.processes import TrainingWatch, free_port, running, wait_until

LONG = replace(SCHEDULE, iterations=100, evaluate_every=50)


def leave_checkpoint(folder: Path, config: MemberConfig, schedule: Schedule, dataset: Dataset) -> None:
    """Leave of a member what a process that was killed earlier does: a checkpoint within a row, and no result."""
    member = MemberDirectory(folder / "results" / STUDY / "members" / config.content_hash)
    training = train_member(config, replace(schedule, checkpoint_seconds=0), dataset, member)
    assert len(list(itertools.islice(training, 2))) == 2
    training.close()
    assert member.checkpoint.exists()


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of all trials at once", "they start again; as if uninterrupted, bit for bit")
@pytest.mark.usefixtures("ray_session")
def test_killed_trials_are_started_again(folder_with_database: Path, dataset: Dataset, alone: Path) -> None:
    """One goes on from a checkpoint that it has, one starts from the beginning."""
    folder = folder_with_database
    leave_checkpoint(folder, MemberConfig(batch_size=4, tau=1.0), LONG, dataset)
    killed: list[int] = []
    ended_before: list[str] = []

    def kill_both() -> None:
        watch = TrainingWatch(os.getpid())
        for pid in wait_until(lambda: watch.trials(2), "two trials in training"):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        ended_before.extend(read_results(folder))

    killer = threading.Thread(target=kill_both)
    killer.start()
    code = sweep(folder, "--taus", "0", "1", "--gpus-per-trial", "0", schedule=LONG)
    killer.join()
    assert len(killed) == 2
    assert ended_before == []
    assert code == 0
    assert_nothing_lost(folder, LONG, dataset, alone)


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL, then Ctrl-C, beside a Ray that is no more", "the same command goes on, as if uninterrupted, bit for bit"
)
@pytest.mark.usefixtures("ray_session")
def test_killed_and_interrupted_commands_go_on(
    folder_with_database: Path, tmp_path: Path, dataset: Dataset, alone: Path
) -> None:
    """The same command three times: killed, ended by Ctrl-C, and left in peace.

    The first two run beside a Ray that is no more, whose address is still about: they start their own.
    """
    folder = folder_with_database
    flags = ("--taus", "0", "1", "5", "--gpus-per-trial", "0")
    command = script(folder, *flags, schedule=LONG)
    leave_checkpoint(folder, MemberConfig(batch_size=4, tau=5.0), LONG, dataset)
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short:  # a socket's path must be
        stale = f"127.0.0.1:{free_port()}"
        (Path(short) / "ray").mkdir()
        (Path(short) / "ray" / "ray_current_cluster").write_text(stale)

        log = tmp_path / "killed.txt"
        with running(command, folder, log, RAY_TMPDIR=short) as process:
            wait_until(lambda: count_points(folder) or process.poll() is not None, "the first rows")
            assert process.poll() is None, log.read_text()
            process.kill()
            process.wait()
        assert len(read_results(folder)) < 3
        assert "RUNNING" in statuses(folder).values()

        log = tmp_path / "interrupted.txt"
        with running(command, folder, log, RAY_TMPDIR=short) as process:
            watch = TrainingWatch(process.pid)
            wait_until(lambda: watch.trials(1) or process.poll() is not None, "a trial in training")
            assert process.poll() is None, log.read_text()
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.wait(timeout=60) == 130, log.read_text()
        assert "Stopped. The same command again goes on" in log.read_text()
        assert "Traceback" not in log.read_text()
        assert "RUNNING" not in statuses(folder).values()
        assert "KILLED" in statuses(folder).values()

    assert sweep(folder, *flags, schedule=LONG) == 0
    assert len(read_results(folder)) == 3
    assert_nothing_lost(folder, LONG, dataset, alone)
