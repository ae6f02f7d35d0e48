"""Commands that are told to stop, once or more, and a second one that finds its study held."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from larvae.datasets import Dataset
from tests.sweeps.commands import (
    SCHEDULE,
    STUDY,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    assert_nothing_lost,
    script,
    statuses,
)
from tests.sweeps.commands import sweep as sweep_here
from tests.sweeps.processes import TrainingWatch, running, wait_until

LONG = replace(SCHEDULE, iterations=300, log_every=20, evaluate_every=100)
FLAGS = ("--taus", "0", "1", "--gpus-per-trial", "0")
GOES_ON = "ends in a line; the same command goes on, as if uninterrupted, bit for bit"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    "signals",
    [
        pytest.param((signal.SIGTERM,), marks=pytest.mark.fault("SIGTERM to the driver", GOES_ON)),
        pytest.param((signal.SIGINT,), marks=pytest.mark.fault("Ctrl-C", GOES_ON)),
        pytest.param((signal.SIGINT, signal.SIGINT), marks=pytest.mark.fault("Ctrl-C twice", GOES_ON)),
        pytest.param((signal.SIGHUP,), marks=pytest.mark.fault("a terminal that is closed (SIGHUP)", GOES_ON)),
    ],
    ids=lambda signals: "-".join(each.name for each in signals),
)
def test_a_command_that_is_told_to_stop_goes_on_when_typed_again(
    signals: tuple[signal.Signals, ...], folder_with_database: Path, tmp_path: Path, dataset: Dataset, alone: Path
) -> None:
    folder, log = folder_with_database, tmp_path / "log.txt"
    with running(script(folder, *FLAGS, schedule=LONG), folder, log) as process:
        watch = TrainingWatch(process.pid)
        wait_until(lambda: watch.trials(1) or process.poll() is not None, "a trial in training")
        for each in signals:
            assert process.poll() is None, log.read_text()
            os.killpg(process.pid, each)  # as a terminal does
            time.sleep(0.2)
        code = process.wait(timeout=60)
    told = log.read_text()
    assert code == 130, told
    assert "Traceback" not in told
    assert told.count("Stopped. The same command again goes on") == 1
    assert "RUNNING" not in statuses(folder).values()
    assert sweep_here(folder, *FLAGS, schedule=LONG) == 0
    assert_nothing_lost(folder, LONG, dataset, alone)


@pytest.mark.slow
@pytest.mark.fault("a second driver on the same study", "told in a line, exit code 2; the first one ends as if alone")
def test_a_second_driver_is_told_and_harms_nothing(
    folder_with_database: Path, tmp_path: Path, dataset: Dataset, alone: Path
) -> None:
    folder, log = folder_with_database, tmp_path / "log.txt"
    command = script(folder, *FLAGS, schedule=LONG)
    with running(command, folder, log) as process:
        watch = TrainingWatch(process.pid)
        wait_until(lambda: watch.trials(1) or process.poll() is not None, "a trial in training")
        second = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert process.wait(timeout=300) == 0, log.read_text()
    assert second.returncode == 2
    [line] = second.stderr.splitlines()
    held = rf"error: one process at a time runs a study, but another runs `.*/{STUDY}`: process {process.pid} on .*"
    assert re.fullmatch(held, line), line
    assert "Ray" not in second.stdout  # it has started none
    assert_all_in_mlflow(folder)
    assert_as_if_uninterrupted(folder, LONG, dataset, alone)
