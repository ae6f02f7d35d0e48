"""Trials whose kind of GPU is lost: they are ended, and their members trained on the kinds that are left."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from sweeps.driver import moving
from sweeps.driver.evaluating import Evaluations
from sweeps.driver.moving import Moving
from sweeps.driver.queueing import MemberQueue
from sweeps.driver.waiting import LOOK_SECONDS, LOST_SECONDS
from sweeps.resources.places import Place, Places
from tests.sweeps.commands import (
    SCHEDULE,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    read_results,
    script,
)
from tests.sweeps.processes import TrainingWatch, ray_head, ray_node, running, wait_until
from tests.sweeps.test_interruptions import leave_checkpoint

LARGE, SMALL = {"CPU": 2.0, "GPU": 1.0, "gpu_32GB": 1000.0}, {"CPU": 1.0, "GPU": 1.0, "gpu_16GB": 1000.0}
PLACES = (Place("gpu_16GB", 0.5, 1), Place("gpu_32GB", 0.25, 2))
LONG = replace(SCHEDULE, iterations=100, evaluate_every=50)
QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
"""Ray sees soon that a node is lost."""
SWEEP = """
import os
import sys

from sweeps.driver import moving
from sweeps import preparation, tau_sweep
from sweeps.resources.allocation import Allocation
from sweeps.resources.missing_gpus import VARIABLE
from sweeps.resources.shares import TrialResources
from sweeps.resources.places import Place

places = (Place("gpu_16GB", 0.5, 1), Place("gpu_32GB", 0.5, 1))
resources = TrialResources(1, 0.5, 1, places)
preparation.allocate = lambda *given: Allocation(resources)  # as for GPUs that tell their sizes
os.environ[VARIABLE] = "1"
moving.LOST_SECONDS = 1.0
moving.LOOK_SECONDS = 0.5
sys.exit(tau_sweep.run(sys.argv[1:]))
"""


class Cluster:
    """A clock, nodes, a queue, and Tune as its scheduler sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, trials: int) -> None:
        self.now = 1000.0
        self.nodes = [LARGE, SMALL]
        self.said: list[str] = []
        members = [[MemberConfig(seed=seed)] for seed in range(trials)]
        self.queue = MemberQueue(members, Places(PLACES), Evaluations())
        self.scheduler = Moving(self.queue.places, 1, self.said.append)
        self.trials: list[Any] = []
        monkeypatch.setattr(moving.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(moving, "living_nodes", lambda: self.nodes)

    def get_live_trials(self) -> list[Any]:
        return [trial for trial in self.trials if trial.status != "TERMINATED"]

    def stop_trial(self, trial: Any) -> None:
        assert trial.status == "PENDING"
        trial.status = "TERMINATED"
        self.queue.on_trial_complete(trial.name)

    def start(self) -> list[tuple[int, str]]:
        """Start what the queue suggests: seeds and kinds."""
        started = []
        while isinstance(suggestion := self.queue.suggest(str(len(self.trials))), dict):
            self.trials.append(SimpleNamespace(name=str(len(self.trials)), config=suggestion, status="RUNNING"))
            started.append((suggestion["members"][0]["seed"], suggestion["place"]["resource"]))
        return started

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds // LOOK_SECONDS)):
            self.now += LOOK_SECONDS
            self.scheduler.choose_trial_to_run(self)

    def lose(self, resource: str) -> None:
        """All nodes of a kind, and the processes there, which Tune starts again when it can."""
        self.nodes = [node for node in self.nodes if resource not in node]
        for trial in self.get_live_trials():
            if trial.config["place"]["resource"] == resource:
                trial.status = "PENDING"

    def end(self, number: int) -> None:
        self.trials[number].status = "TERMINATED"
        self.queue.on_trial_complete(str(number), {})


def test_members_of_a_lost_kind_go_first_where_a_place_becomes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, trials=5)
    assert cluster.start() == [(0, "gpu_16GB"), (1, "gpu_32GB"), (2, "gpu_32GB")]
    cluster.lose("gpu_32GB")
    cluster.pass_time(LOST_SECONDS)
    assert len(cluster.get_live_trials()) == 3  # it may be back in a moment
    cluster.pass_time(2 * LOOK_SECONDS)
    assert [trial.name for trial in cluster.get_live_trials()] == ["0"]
    assert cluster.said == ["No node with gpu_32GB is left: 2 trials go on on other GPUs, from the last checkpoints"]
    started = []
    for number in (0, 3, 4, 5):
        assert cluster.start() == []
        cluster.end(number)
        started += cluster.start()
    assert {seed for seed, _ in started[:2]} == {1, 2}
    assert sorted(started) == [(seed, "gpu_16GB") for seed in (1, 2, 3, 4)]
    cluster.end(6)
    assert cluster.queue.suggest("") == MemberQueue.FINISHED


def test_a_kind_that_comes_back_is_used_again_and_keeps_its_trials_where_it_is_back_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(monkeypatch, trials=3)
    cluster.start()
    for _ in range(3):
        cluster.lose("gpu_32GB")
        cluster.pass_time(LOST_SECONDS)
        cluster.nodes.append(LARGE)
        cluster.pass_time(LOOK_SECONDS)
    assert len(cluster.get_live_trials()) == 3
    cluster.lose("gpu_32GB")
    cluster.pass_time(LOST_SECONDS + 2 * LOOK_SECONDS)
    assert cluster.start() == []
    cluster.nodes.append(LARGE)
    cluster.pass_time(LOOK_SECONDS)
    assert sorted(kind for _, kind in cluster.start()) == ["gpu_32GB"] * 2


def test_nodes_that_come_later_are_filled_and_those_that_go_leave_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, trials=20)
    assert len(cluster.start()) == 3
    cluster.nodes += [SMALL, LARGE, {"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0, "gpu_8GB": 1000.0}]
    cluster.pass_time(LOOK_SECONDS)
    assert sorted(kind for _, kind in cluster.start()) == ["gpu_16GB", "gpu_32GB", "gpu_32GB"]
    cluster.nodes = [LARGE, SMALL]
    cluster.pass_time(LOOK_SECONDS)
    cluster.nodes += [SMALL]
    cluster.pass_time(LOOK_SECONDS)
    assert cluster.start() == []
    for number in range(6):
        cluster.end(number)
    assert len(cluster.start()) == 6


def test_nothing_moves_where_no_kind_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, trials=4)
    cluster.start()
    cluster.lose("gpu_32GB")
    cluster.lose("gpu_16GB")
    cluster.pass_time(10 * LOST_SECONDS)
    assert len(cluster.get_live_trials()) == 3
    cluster.nodes = [SMALL]
    cluster.pass_time(LOOK_SECONDS)
    assert [trial.name for trial in cluster.get_live_trials()] == ["0"]


@pytest.mark.slow
def test_a_member_whose_kind_of_gpu_is_lost_is_trained_on_another(
    folder_with_database: Path, tmp_path: Path, dataset: Dataset, alone: Path
) -> None:
    """Two nodes of one GPU each, of two kinds; one is killed while both train, and never comes back."""
    folder, log = folder_with_database, tmp_path / "sweep.txt"
    for tau in (0.0, 1.0):
        leave_checkpoint(folder, MemberConfig(batch_size=4, tau=tau), LONG, dataset)
    first = ("--num-gpus=1", '--resources={"gpu_16GB": 1000}', "--include-dashboard=false")
    second = ("--num-cpus=1", "--num-gpus=1", '--resources={"gpu_32GB": 1000}')
    with ray_head(tmp_path, 1, *first, **QUICK) as address, contextlib.ExitStack() as second_node:
        pid = second_node.enter_context(ray_node(tmp_path, address, *second, **QUICK))
        arguments = script(folder, "--taus", "0", "1", "--address", address, "--no-preflight", schedule=LONG)[2:]
        with running([sys.executable, "-c", SWEEP, *arguments], Path.cwd(), log) as process:
            watch = TrainingWatch(pid)
            wait_until(lambda: watch.trials(1) or process.poll() is not None, "a trial on the second node")
            assert process.poll() is None, log.read_text()
            second_node.close()
            assert process.wait(timeout=150) == 0, log.read_text()
    assert "No node with gpu_32GB is left: 1 trial goes on on other GPUs, from the last checkpoints" in log.read_text()
    assert [result["status"] for result in read_results(folder).values()] == ["finished"] * 2
    assert_all_in_mlflow(folder)
    assert_as_if_uninterrupted(folder, LONG, dataset, alone)
