"""What a search costs at most, and what becomes of members that run out of GPU memory; without Ray."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from larvae.config import MemberConfig, Schedule
from larvae.member_directory import MemberDirectory
from sweeps.adaptive import search_runner
from sweeps.adaptive.configurations import Rules
from sweeps.adaptive.sampling import Suggestion
from sweeps.adaptive.searching import Search
from sweeps.resources.shares import TrialResources
from sweeps.study import StudyDirectory
from sweeps.trial.trial_settings import TrialSettings
from tests.sweeps.adaptive.simulation import row_of, simulate, with_


def iterations_left(rules: Rules, folder: Path) -> tuple[int, int]:
    """At most, and likely."""
    done = search_runner._progress(folder, rules.iterations)
    work = search_runner._work(rules, MemberConfig(), 2, done)
    assert work.expected is not None
    return sum(map(sum, work.trials)), sum(map(sum, work.expected))


@pytest.mark.parametrize("objectives", [("mig",), ("mig", "l2")])
@pytest.mark.parametrize("rungs", [(), (10, 30)])
def test_no_search_trains_more_than_the_most_of_its_plan(
    tmp_path: Path, objectives: tuple[str, ...], rungs: tuple[int, ...]
) -> None:
    rules = with_(objectives=objectives, rungs=rungs)
    most, likely = iterations_left(rules, tmp_path)
    assert likely <= most == rules.configurations * rules.seeds * rules.iterations
    search = simulate(rules, random.Random(0), kind="random")
    assert sum(run.reached for one in search.configurations for run in one.runs) <= most


def iterations_of(qualities: list[float], rules: Rules) -> int:
    """Iterations of configurations that come in an order, by halving's rule as its paper's stopping form has it."""
    at: dict[int, list[float]] = {rung: [] for rung in rules.rungs}
    total = 0
    for quality in qualities:
        for rung in rules.rungs:
            better = sum(other > quality for other in at[rung])
            at[rung].append(quality)
            if better >= math.ceil(len(at[rung]) / rules.reduction):
                total += rung
                break
        else:
            total += rules.iterations
    return total


def test_a_plan_tells_what_a_search_of_points_in_random_order_is_likely_to_train() -> None:
    """More than a third pass each rung, as they are compared with those before them alone."""
    rules, generator = with_(configurations=30, seeds=1, rungs=(10, 30)), random.Random(0)
    drawn = [iterations_of([generator.random() for _ in range(30)], rules) for _ in range(200)]
    likely = sum(search_runner.likely_ends(rules))
    assert likely == pytest.approx(statistics.median(drawn), rel=0.1)
    assert likely > 1.2 * (20 * 10 + 7 * 30 + 3 * 90)
    assert sum(search_runner.likely_ends(with_(rungs=()))) == rules.iterations * with_().configurations


def test_a_plan_counts_what_is_left_of_members_that_have_begun(tmp_path: Path) -> None:
    """One has finished, one was stopped, one goes on from an end at fewer iterations, one was interrupted."""
    rules = with_(configurations=4, seeds=1, rungs=(30,))
    whole, _ = iterations_left(rules, tmp_path)
    for seed, (status, reached) in enumerate([("finished", 90), ("stopped", 30), ("finished", 60), ("", 50)]):
        member = MemberConfig(seed=seed)
        files, rows = MemberDirectory(tmp_path / member.content_hash), [row_of(member, reached)]
        files.append_rows(rows)
        if status:
            files.write_result(member, status, rows, stopped_at=30 if status == "stopped" else None)
        assert files.reached() == reached
        files.append_rows([row_of(member, 70)] * (reached == 60))  # it goes on from its earlier end
        assert files.reached() == max(reached, 70 * (reached == 60))
    done = search_runner._progress(tmp_path, 90)
    assert (done.ended, sorted(done.begun)) == (Counter({90: 1, 30: 1}), [50, 70])
    assert iterations_left(rules, tmp_path)[0] == whole - 90 - 90 - 70 - 50


class Adaptive:
    """A search of which members get better, and larger, with z."""

    space = None
    rules = with_(configurations=6, parallel=1, rungs=(), iterations=100)

    def search(self, *_: object) -> Search:
        def ask(number: int, *_: object) -> Suggestion:
            return Suggestion({"z_dim": number + 1}, {})

        return Search(self.rules, ask, lambda suggestion, seed: MemberConfig(seed=seed, **suggestion.point))


@pytest.mark.parametrize("fits_alone", [True, False])
def test_members_that_ran_out_of_memory_are_told_until_none_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits_alone: bool
) -> None:
    """Those of the best configuration fit on no share of a GPU: found alone, it gets seeds, which do not fit either."""
    directory, trained = StudyDirectory(tmp_path), list[tuple[int, int, float]]()

    def fit(searcher: Any, settings: Any, resources: Any, directory: Any, reporter: Any, stopper: Any = None) -> None:
        while isinstance(config := searcher.suggest("trial"), dict):
            members = [MemberConfig.from_dict(fields) for fields in config["members"]]
            trial = SimpleNamespace(trial_id="trial", config=config)
            reporter.on_trial_start(0, [], trial)
            news = {m.content_hash: end(m, settings.gpus) for m in members}
            (stopper or (lambda *_: None))("trial", {"members": news})
            reporter.on_trial_result(0, [], trial, {"members": news})
            searcher.on_trial_complete("trial", {"members": news})

    def end(member: MemberConfig, gpus: float) -> dict[str, Any]:
        trained.append((member.z_dim, member.seed, gpus))
        if member.z_dim > 5 and not (gpus == 1 and fits_alone):
            return {"rows": [], "status": "out_of_memory"}
        rows = [{"iteration": 100, "loss": 1.0, "held_out_mig": member.z_dim / 10}]
        directory.member(member).write_result(member, "finished", rows)
        return {"rows": rows, "status": "finished"}

    quiet = SimpleNamespace(print=lambda *_: None, is_terminal=False)
    tracker = SimpleNamespace(**dict.fromkeys(("start", "update", "end", "add"), lambda *_: None))
    monkeypatch.setattr(search_runner.tuner, "fit", fit)
    monkeypatch.setattr(TrialResources, "concurrency", lambda self: 1)
    monkeypatch.setattr(search_runner, "SearchReporter", Welcoming)
    monkeypatch.setattr(search_runner, "StudyProgress", lambda *_: contextlib.nullcontext(Progress()))
    prepared = SimpleNamespace(directory=directory, resources=TrialResources(1, 1 / 6, 1))
    session: Any = SimpleNamespace(
        prepared=prepared, tracker=tracker, console=quiet, study=None, reporting=lambda _: contextlib.nullcontext()
    )
    settings: Any = TrialSettings(
        schedule=Schedule(iterations=100),
        members_directory=tmp_path / "members",
        prepared_files={},
        fingerprints={},
        cpus=1,
        gpus=1 / 6,
        compile=False,
    )
    search, interrupted = search_runner._train(Adaptive(), Adaptive.rules, None, settings, session)  # type: ignore[arg-type]
    assert not interrupted
    [best] = search.best()
    assert best.point == {"z_dim": 6 if fits_alone else 5}
    assert search.num_seeds(best.number) == Adaptive.rules.seeds
    last = search.results()[-1]
    assert last.status == ("finished" if fits_alone else "failed")


class Progress:
    """The terminal of nobody: which members are known, and how they stand."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.labels: dict[str, str] = {}

    def add(self, labels: dict[str, str]) -> None:
        self.labels |= labels
        self.status |= dict.fromkeys(labels, "waiting")

    def start(self, name: str) -> None:
        self.status[name] = "running"

    def wait(self, name: str) -> None:
        self.status[name] = "waiting"

    def end(self, name: str, status: str) -> None:
        self.status[name] = status

    def update(self, *_: object) -> None: ...

    def enter(self, *_: object) -> None: ...


class Welcoming:
    """Tells the terminal which members wait."""

    def __init__(self, *arguments: Any) -> None:
        self.progress = arguments[-1]

    def welcome(self, *_: object) -> None: ...

    def expect(self, members: list[MemberConfig]) -> None:
        self.progress.add({member.content_hash: "" for member in members})

    def follow(self, *_: object) -> None: ...
