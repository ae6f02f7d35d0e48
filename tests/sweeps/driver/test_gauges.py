"""A study's gauges say what its progress says."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from sweeps.console.progress import StudyProgress
from sweeps.driver import gauges
from sweeps.driver.gauges import StudyGauges


class Recorder:
    """Stands in for one of Ray's gauges."""

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tags, self.values = name, {}, {}
        assert description

    def set_default_tags(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.values[tuple((tags or {}).values())] = value


def test_gauges_follow_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "Gauge", Recorder)
    progress = StudyProgress({"a": "A", "b": "B", "c": "C"}, 100, 2, Console(quiet=True))
    published: Any = StudyGauges("study", progress)
    progress.start("a")
    progress.start("b")
    times = {"seconds": 1.0, "timestamp": 0.0}
    progress.update("a", [{"iteration": 10, "seconds_per_iteration": 0.1, "mig": 0.25, "l2": 0.5, **times}])
    progress.update("b", [{"iteration": 5, "seconds_per_iteration": 0.2, "mig": 0.125, "l2": 0.5, **times}])
    published.on_step_end(0, [])
    assert published.members.values == {
        ("waiting",): 1, ("running",): 2, ("finished",): 0, ("stopped",): 0, ("failed",): 0
    }  # fmt: skip
    assert published.best_mig.values == {(): 0.25}
    assert published.speed.values == {(): pytest.approx(10 + 5)}
    assert published.done.values == {(): 15}
    assert published.members.tags == {"study": "study"}
    progress.end("a", "finished")
    published.on_step_end(1, [])  # too early
    assert published.members.values["finished",] == 0
    published.on_experiment_end([])
    assert published.members.values["finished",] == 1
    assert published.speed.values == {(): pytest.approx(5)}
