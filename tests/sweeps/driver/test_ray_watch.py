"""Ray's own processes that die: the command ends in seconds, in one line, and leaves no run RUNNING."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import psutil
import pytest

from sweeps.driver import ray_watch
from sweeps.driver.ray_watch import CONTROL, RAYLET, silent_part, watched
from tests.sweeps.commands import count_points, script, statuses
from tests.sweeps.processes import running, wait_until
from tests.sweeps.test_interruptions import LONG

ENDS = "the command ends within 50 s, in one line; no run stays RUNNING"
ENDLESS = dataclasses.replace(LONG, iterations=1_000_000)


class Ray:
    """Parts of Ray that are silent, a look after the other; the last one for ever."""

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)
        self.lost: list[str] = []
        self.told: list[str] = []

    def look(self) -> str:
        return self.parts.pop(0) if len(self.parts) > 1 else self.parts[0]

    def watch(self, *, is_own: bool) -> None:
        """Watch it until what comes of it is clear."""
        with watched(self.lost.append, self.told.append, is_own=is_own, look=self.look):
            wait_until(lambda: self.lost or self.parts == [""], "the end of it", 20)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LOOK_SECONDS", 0.01), ("LOST_SECONDS", 0.05), ("RETURN_SECONDS", 1.0)):
        monkeypatch.setattr(ray_watch, name, seconds)


@pytest.mark.parametrize("part", [CONTROL, RAYLET])
def test_a_part_that_stays_silent_is_lost(part: str) -> None:
    ray = Ray("", "", part)
    ray.watch(is_own=True)
    assert (ray.lost, ray.told) == ([part], [])


def test_a_clusters_control_may_come_back() -> None:
    """Its raylet on this machine does not: Ray would end the command before."""
    ray = Ray("", *[CONTROL] * 8, "")
    ray.watch(is_own=False)
    assert ray.lost == []
    assert ray.told == [f"{CONTROL} does not answer: waiting for it, 1 s at most"]
    for part in (CONTROL, RAYLET):
        ray = Ray(part)
        ray.watch(is_own=False)
        assert ray.lost == [part]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_ray_that_lives_is_found() -> None:
    assert silent_part() == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "lost",
    [
        pytest.param("raylet", marks=pytest.mark.fault("Ray's raylet dies", ENDS)),
        pytest.param("gcs_server", marks=pytest.mark.fault("Ray's control (GCS) dies", ENDS)),
        pytest.param("the whole group", marks=pytest.mark.fault("SIGTERM to the whole process group", ENDS)),
    ],
)
def test_a_command_whose_ray_dies_ends_in_a_line_and_goes_on(
    lost: str, folder_with_database: Path, tmp_path: Path
) -> None:
    """As does one whose process group is told to stop, as schedulers do: Ray's processes are not in it."""
    folder, log = folder_with_database, tmp_path / "log.txt"
    command = script(folder, "--taus", "0", "1", "--gpus-per-trial", "0", schedule=ENDLESS)
    with running(command, folder, log) as process:
        wait_until(lambda: count_points(folder) or process.poll() is not None, "the first rows")
        if lost == "the whole group":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            [victim] = [p for p in psutil.Process(process.pid).children(recursive=True) if p.name() == lost]
            victim.kill()
        code = process.wait(timeout=50)  # Ray's own end of a lost one takes 60
    told = log.read_text()
    if lost == "the whole group":
        assert (code, told.splitlines()[-1][:7]) == (130, "Stopped"), told
    else:
        assert (code, f"({lost}) has died: the same command goes on" in told.splitlines()[-1]) == (1, True), told
    assert "RUNNING" not in statuses(folder).values()
    for noise in ("Traceback", "state-dump", "core_worker"):
        assert noise not in told
