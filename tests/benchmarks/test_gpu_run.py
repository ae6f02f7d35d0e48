"""The prepared run on a GPU: its rows in order, written as they come, and failing where a way is wrong."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from larvae.config import MemberConfig, Schedule
from larvae.datasets import Dataset
from larvae.member_directory import MemberDirectory
from larvae.together.group import likeness

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def settings(**more: Any) -> Any:
    from gpu.rows import Settings

    return Settings(**{"deadline": time.monotonic() + 60, "device": "cpu", "small": True, "seconds": 0.01} | more)


def test_rows_are_written_as_they_come_and_failures_are_told(tmp_path: Path) -> None:
    from gpu.rows import LeftOutError, Report, Row, measure

    path = tmp_path / "folder" / "step.json"

    def written() -> list[dict[str, Any]]:
        return json.loads(path.read_text())["rows"]

    def break_down() -> dict[str, Any]:
        assert written()[0]["rate"] == 1
        raise ValueError("broken\nby hand")

    def leave_out() -> dict[str, Any]:
        raise LeftOutError("there is none")

    rows = [
        Row("first", lambda: {"rate": 1}),
        Row("second", break_down),
        Row("third", leave_out),
        Row("first", break_down),  # the same again
        Row("last", lambda: {"rate": len(written())}),
    ]
    assert measure(rows, Report(path, {"commit": "abc"}), settings()) == 1
    assert [row["row"] for row in written()] == ["first", "second", "third", "last"]
    reasons = [row.get("failed", row.get("left_out")) for row in written()[1:3]]
    assert reasons == ["ValueError: broken", "there is none"]
    assert written()[3]["rate"] == 3
    assert json.loads(path.read_text())["commit"] == "abc"
    assert measure(rows[2:3], Report(path, {}), settings()) == 0


def test_rows_without_time_are_left_out(tmp_path: Path) -> None:
    from gpu.rows import Report, Row, measure

    report = Report(tmp_path / "step.json", {})
    rows = [Row("long", lambda: {"rate": 1}, 50), Row("short", lambda: {"rate": 2}, 5)]
    assert measure(rows, report, settings(small=False, deadline=time.monotonic() + 20)) == 0
    assert report.rows[0]["left_out"].startswith("it needs 50 s")
    assert report.rows[1]["rate"] == 2


def test_a_wrong_way_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    """It runs to its end and has a rate, but its row says so and the exit code tells."""
    from gpu import measuring, ways
    from gpu.rows import Report, Row, measure

    class Wrong(ways.Together):
        def gradients(self) -> list[Any]:
            name = "decoder.5.weight"
            return [{**of_one, name: -of_one[name]} for of_one in super().gradients()]

    def row(way: str) -> Row:
        task = measuring.task(way, measuring.as_in_the_sweep(2), settings())

        def measured() -> dict[str, Any]:
            found: dict[str, Any] = {}
            for phase, answer in enumerate(measuring.answers(task)):
                found |= measuring.figures(phase, [answer], 2)
            return found

        return Row(way, measured)

    monkeypatch.setitem(ways.WAYS, "wrong", ways.Kind("wrong", Wrong))
    report = Report(tmp_path / "step.json", {})
    assert measure([row("group")], report, settings()) == 0
    assert measure([row("wrong")], report, settings()) == 1
    right, wrong = report.rows
    assert right["gradient_deviation"] < 1e-4 < right["iterations_per_second"]
    assert "deviates from float32 on the CPU: gradients by" in wrong["failed"]
    assert wrong["iterations_per_second"] > 0


def test_a_deviation_is_told_by_gradients_losses_and_numbers_that_are_none() -> None:
    from gpu.agreement import TOLERANCES, Observed, deviation

    def observed(gradient: float, loss: float) -> Observed:
        return Observed([{"weight": torch.tensor([3.0, gradient])}], [(100.0, loss)])

    def fault(gradient: float, loss: float) -> str:
        both = Observed([{}, *observed(gradient, loss).gradients], [(0.0, 0.0), (100.0, loss)])
        return deviation(both, observed(4.0, 90.0), [1]).fault(TOLERANCES[torch.float32])

    assert deviation(observed(4.5, 90.0), observed(4.0, 90.0), [0]).gradient == pytest.approx(0.1)
    assert fault(4.05, 90.05) == ""
    assert fault(4.5, 90.0).endswith("gradients by 0.1, more than 0.02")
    assert fault(4.0, 91.0).endswith("losses by 0.011, more than 0.001")
    assert fault(4.0, math.nan).endswith("losses by what is no number")
    assert fault(math.nan, 90.0).endswith("gradients by what is no number")


@pytest.mark.parametrize("way", ["textbook", "vmap"])
def test_peers_compute_what_they_should(way: str, dataset: Dataset) -> None:
    from gpu import measuring

    first, *_ = measuring.answers(measuring.task(way, measuring.of_own_seeds(2), settings()))
    assert first["fault"] == ""
    assert first["gradient"] < 1e-4
    assert first["loss"] < 1e-4


def test_the_sweeps_members_are_alike() -> None:
    from gpu import measuring, study

    fields = measuring.as_in_the_sweep(32)
    assert len({likeness(MemberConfig.from_dict(member)) for member in fields}) == 1
    assert len({MemberConfig.from_dict(member).content_hash for member in fields}) == 32
    assert len({member.content_hash for member in study.members(settings(small=False))}) == 132


def test_a_traces_figures_are_of_one_step() -> None:
    from gpu.launches import busy_microseconds, summary

    assert busy_microseconds([(0, 4), (2, 6), (3, 5), (10, 11)]) == 7

    def event(category: str, name: str, start: float, length: float, thread: int = 7) -> dict[str, Any]:
        return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": length, "tid": thread}

    events = [
        event("kernel", "fused", 0, 1000),
        event("kernel", "fused", 500, 1500),
        event("gpu_memcpy", "Memcpy HtoD", 4000, 1000),
        event("gpu_user_annotation", "Optimizer.step", 0, 9000),
        event("cuda_runtime", "cudaGraphLaunch", 0, 10),
        event("cuda_runtime", "cudaMemcpyAsync", 0, 10),
        event("cuda_driver", "cuLaunchKernelEx", 0, 10),
        event("cuda_runtime", "cudaEventSynchronize", 0, 10, thread=8),
        event("cuda_runtime", "cudaStreamSynchronize", 0, 10),
        event("cuda_runtime", "cudaDeviceSynchronize", 0, 10),
        {"ph": "M", "name": "process_name"},
    ]
    figures = summary(events, 2, milliseconds=3.0, main_thread=7)
    assert figures == {
        "kernels_per_step": 1.0,
        "copies_per_step": 0.5,
        "launches_per_step": 1.0,
        "waits_per_step": 0.5,
        "waits_of_other_threads_per_step": 0.5,
        "gpu_busy_milliseconds": 1.5,
        "gpu_busy_share": 0.5,
        "longest_kernels_microseconds": {"fused": 1250.0},
    }


def test_a_sweeps_rate_is_that_of_its_rows() -> None:
    """Two members, one of which begins late: 50 iterations in 5 s, and 100."""
    from gpu.under_ray import rate_of

    slow = [{"iteration": 50.0 * number, "timestamp": 5.0 * number} for number in range(1, 9)]
    fast = [{"iteration": 100.0 * number, "timestamp": 10 + 5.0 * number} for number in range(1, 7)]
    assert rate_of([slow, fast]) == 30.0
    assert rate_of([slow[:1]]) == 0.0


def test_members_are_grouped_with_their_like() -> None:
    import train_study

    members = [MemberConfig(tau=tau, seed=seed) for tau in (0.0, 0.5, 1.0) for seed in range(11)]
    groups = train_study.groups(members, 8)
    assert [len(group) for group in groups] == [8, 8, 6, 6, 5]
    assert {member for group in groups for member in group} == set(members)
    assert all(len(group) <= 8 and len({*map(likeness, group)}) == 1 for group in groups)
    assert max(len({member.seed for member in group}) for group in groups if group[0].tau) <= 5


def test_a_study_stops_at_its_deadline_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    import train_study

    schedule = Schedule(iterations=6, log_every=2, evaluate_every=6, evaluation_size=20, final_metrics=())
    members = tuple(MemberConfig(seed=seed, batch_size=2) for seed in range(2))

    def train(folder: Path, times: Iterator[float]) -> dict[str, Any]:
        clock = SimpleNamespace(time=lambda: next(times), perf_counter=time.perf_counter)
        monkeypatch.setattr(train_study, "time", clock)
        return train_study.train_group(train_study.Task(folder, members, schedule, "cpu", False, 100.0))

    # Asked before the first report, after each member's own and after rows: two at iteration 2, one at iteration 4.
    stopped = train(tmp_path / "stopped", iter([0, 0, 0, 0, 0, 101]))
    assert (stopped["resumed_from"], stopped["reached"], stopped["finished"]) == (0, 8, 0)
    ended = train(tmp_path / "stopped", iter([0] * 99))
    assert (ended["resumed_from"], ended["reached"], ended["finished"]) == (8, 12, 2)
    assert ended["failed"] == {}
    train(tmp_path / "whole", iter([0] * 99))
    for member in members:
        histories = [
            (MemberDirectory(tmp_path / name / "members" / member.content_hash).read_result() or {})["history"]
            for name in ("stopped", "whole")
        ]
        assert [row["loss"] for row in histories[0]] == [row["loss"] for row in histories[1]]


def run(step: int, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "gpu_run.py"), str(step), "--output", str(folder), "--commit", "abc"]
    return subprocess.run(
        [*command, "--device", "cpu", "--small", "--seconds", "0.1", "--minutes", "15", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 7))
def test_the_run_is_rehearsed(step: int, tmp_path: Path) -> None:
    done = run(step, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / f"step-{step}.json").read_text())
    measured = [row for row in report["rows"] if "left_out" not in row]
    assert measured
    assert report["commit"] == "abc"
    assert report["torch"] == torch.__version__
    needs_a_gpu = {row["left_out"] for row in report["rows"] if "left_out" in row}
    assert needs_a_gpu <= {"it needs a GPU"}
    if step == 5:
        assert measured[1]["reached"] == 18
