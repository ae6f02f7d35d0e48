"""The search as a whole, without Ray: the same whatever the timing and whatever kills it, and what it finds."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence

import pytest

from larvae.config import MemberConfig
from larvae.member_directory import Row
from sweeps.adaptive import halving
from sweeps.adaptive.configurations import Rules
from sweeps.adaptive.objectives import dominates
from sweeps.adaptive.sampling import Observation, Sampler, Suggestion
from sweeps.adaptive.searching import ATTEMPTS, Search
from sweeps.adaptive.space import parse_space
from tests.sweeps.adaptive import simulation
from tests.sweeps.adaptive.simulation import RULES, Disk, KilledError, quality, row_of, simulate, with_

FEW = with_(configurations=14)
BOTH = with_(objectives=("mig", "l2"), rungs=())
Outcome = list[tuple[dict[str, object], str, tuple[float, ...], int, int]]


def outcome(search: Search) -> Outcome:
    """All that a search has decided: points, what became of them, with which values and where, and seeds."""
    return [
        (dict(o.point), o.status, o.values, o.iteration, len(search.configurations[o.number].runs))
        for o in search.results()
    ]


def some_fail(config: MemberConfig) -> int | None:
    """Three of ten members diverge, at any time."""
    generator = random.Random(f"failure of {config.content_hash}")
    return generator.choice([0, 5, 10, 15, 25, 35, 65, 85]) if generator.random() < 0.3 else None


def none_fails(config: MemberConfig) -> int | None:
    return None


def all_fail(config: MemberConfig) -> int | None:
    return 40


Fails = Callable[[MemberConfig], int | None]


def simulate_killed(rules: Rules, seed: int, disk: Disk, fails: Fails = none_fails, kind: str = "tpe") -> Search:
    """KilledError after every few events, or before the first, and started again until it comes to its end."""
    timing = random.Random(seed)
    while True:
        with contextlib.suppress(KilledError):
            return simulate(rules, timing, disk, kill_after=timing.choice([0, 1, 2, 5, 20]), fails=fails, kind=kind)


def assert_trained_once(disk: Disk, rules: Rules) -> None:
    """No iteration of a member was trained again, and none behind the end."""
    for rows in disk.rows.values():
        assert [row["iteration"] for row in rows] == list(range(10, 10 * len(rows) + 1, 10))
        assert len(rows) * 10 <= rules.iterations
    failures = sum(status == "failed" for status, _ in disk.ends.values())
    assert disk.trained == 10 * (sum(map(len, disk.rows.values())) + failures)


def assert_sound(search: Search, rules: Rules) -> None:
    """What holds at the end of any search."""
    results = search.results()
    assert search.is_done
    assert search.next() is None
    assert len(results) == rules.configurations or search.is_exhausted
    names = [configuration.first[0].config.content_hash for configuration in search.configurations]
    assert len(set(names)) == len(names)
    for result in results:
        configuration = search.configurations[result.number]
        assert result.status in ("finished", "stopped", "failed")
        assert [run.config.seed for run in configuration.runs] == list(range(len(configuration.runs)))
        assert rules.first_seeds <= len(configuration.runs) <= rules.seeds
        if result.status == "finished":
            assert all(run.reached == rules.iterations for run in configuration.runs)
            assert search.num_seeds(result.number) == len(configuration.runs)
        if result.status == "stopped":
            assert result.iteration in rules.rungs
            assert not configuration.more
        if result.status == "failed":
            assert any(run.status == "failed" for run in configuration.runs)
    for best in search.best():
        assert search.num_seeds(best.number) == rules.seeds
        assert not any(dominates(o.values, best.values, rules.objectives) for o in results if o.status == "finished")
    assert bool(search.best()) == any(result.status == "finished" for result in results)


# The same, whatever happens

STORIES = [
    pytest.param(
        with_(configurations=14, parallel=parallel, first_seeds=first_seeds),
        fails,
        id=f"{parallel} at once, {first_seeds} seeds first, {fails.__name__}",
    )
    for parallel, first_seeds, fails in itertools.product((1, 2, 5), (1, 2, 3), (none_fails, some_fail))
]


@pytest.mark.parametrize(("rules", "fails"), STORIES)
def test_a_search_is_the_same_whatever_the_timing(rules: Rules, fails: Fails) -> None:
    searches = [simulate(rules, random.Random(seed), fails=fails) for seed in range(7)]
    assert_sound(searches[0], rules)
    for search in searches[1:]:
        assert outcome(search) == outcome(searches[0])


@pytest.mark.parametrize(("rules", "fails"), STORIES)
def test_a_search_is_the_same_however_often_it_is_killed(rules: Rules, fails: Fails) -> None:
    expected = outcome(simulate(rules, random.Random(0), fails=fails))
    for seed in range(2):
        disk = Disk()
        assert outcome(simulate_killed(rules, seed, disk, fails)) == expected
        assert_trained_once(disk, rules)


@pytest.mark.parametrize("kind", ["cmaes", "sobol", "random"])
def test_a_search_is_the_same_with_other_samplers(kind: str) -> None:
    rules = with_(configurations=14, parallel=3, rungs=() if kind == "cmaes" else RULES.rungs)
    expected = outcome(simulate(rules, random.Random(0), kind=kind, fails=some_fail))
    for seed in (1, 2, 3):
        assert outcome(simulate(rules, random.Random(seed), kind=kind, fails=some_fail)) == expected
    assert outcome(simulate_killed(rules, 0, Disk(), some_fail, kind)) == expected


def test_rows_between_evaluations_and_odd_ends_change_nothing() -> None:
    """Rungs that no row meets are passed by; the last evaluation is what counts."""
    for rules in (with_(iterations=95), with_(rungs=(15, 40)), with_(iterations=10, rungs=())):
        expected = simulate(rules, random.Random(0))
        for seed in (1, 2, 3):
            assert outcome(simulate(rules, random.Random(seed))) == outcome(expected)
        assert all(result.status != "running" for result in expected.results())


@pytest.mark.parametrize("fails", [none_fails, some_fail])
def test_one_at_a_time_is_trained_as_far_as_is_needed_and_no_further(fails: Fails) -> None:
    """However often the search is killed, and whatever its sampler."""
    rules = with_(parallel=1)
    for seed in range(4):
        disk = Disk()
        search = simulate_killed(rules, seed, disk, fails)
        assert_trained_once(disk, rules)
        trained = {name: 10 * len(rows) for name, rows in disk.rows.items()}
        for configuration in search.configurations:
            for run in configuration.runs:
                end = configuration.stopped_at or rules.iterations
                assert trained[run.config.content_hash] == end or run.status == "failed"
        assert trained.keys() == {run.config.content_hash for c in search.configurations for run in c.runs}


@pytest.mark.parametrize("rules", [FEW, with_(configurations=14, parallel=5, first_seeds=2)], ids=["2", "5"])
def test_a_search_that_has_ended_trains_nothing_more(rules: Rules) -> None:
    disk = Disk()
    first = simulate(rules, random.Random(0), disk, fails=some_fail)
    trained, suggestions = disk.trained, list(disk.suggestions)
    assert outcome(simulate(rules, random.Random(1), disk, fails=some_fail)) == outcome(first)
    assert (disk.trained, disk.suggestions) == (trained, suggestions)


# What tuning may look at


def test_whole_data_never_influences_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search looks at held-out labels only: other values in the rows, and none, give the same story."""
    rules = with_(configurations=14, parallel=3)
    expected = outcome(simulate(rules, random.Random(0)))

    def with_other_values(config: MemberConfig, iteration: int) -> Row:
        generator = random.Random(f"{config.content_hash} {iteration}")
        whole = {name: generator.uniform(-9, 9) for name in ("mig", "l2", "loss", "dci_disentanglement", "rmse_shape")}
        return row_of(config, iteration) | whole

    def with_no_values(config: MemberConfig, iteration: int) -> Row:
        return {name: value for name, value in row_of(config, iteration).items() if name != "mig"}

    for rows in (with_other_values, with_no_values):
        monkeypatch.setattr(simulation, "row_of", rows)
        assert outcome(simulate(rules, random.Random(0))) == expected


@pytest.mark.parametrize("objective", ["mig", "l2"])
def test_the_held_out_objective_is_what_decides(monkeypatch: pytest.MonkeyPatch, objective: str) -> None:
    rules = with_(configurations=14, objectives=(objective,))
    expected = outcome(simulate(rules, random.Random(0)))

    def turned(name: str) -> Callable[[MemberConfig, int], Row]:
        return lambda config, iteration: {**row_of(config, iteration), name: -row_of(config, iteration)[name]}

    other = {"mig": "held_out_l2", "l2": "held_out_mig"}[objective]
    monkeypatch.setattr(simulation, "row_of", turned(other))
    assert outcome(simulate(rules, random.Random(0))) == expected
    monkeypatch.setattr(simulation, "row_of", turned(f"held_out_{objective}"))
    assert outcome(simulate(rules, random.Random(0))) != expected


def test_rows_without_held_out_values_have_no_objective() -> None:
    row = {"iteration": 10, "mig": 0.5, "l2": 0.1}
    assert RULES.objective_values(row) is None
    held_out = {"held_out_mig": 0.3, "held_out_l2": 0.2}
    assert RULES.objective_values(row | held_out) == (0.3,)
    assert BOTH.objective_values(row | held_out) == (0.3, 0.2)


# What comes out


@pytest.mark.parametrize("first_seeds", [1, 2, 3])
def test_results_are_means_over_seeds_of_what_was_measured(first_seeds: int) -> None:
    disk = Disk()
    rules = with_(first_seeds=first_seeds, parallel=3)
    search = simulate(rules, random.Random(0), disk)
    statuses = {result.status for result in search.results()}
    assert statuses == {"finished", "stopped"}
    for result in search.results():
        runs = search.configurations[result.number].runs
        iteration = result.iteration if result.status == "stopped" else rules.iterations
        rows = [disk.rows[run.config.content_hash][iteration // 10 - 1] for run in runs]
        assert result.values == pytest.approx([statistics.fmean(row["held_out_mig"] for row in rows)])


def test_the_best_is_the_finished_one_of_the_best_mean() -> None:
    search = simulate(RULES, random.Random(0))
    [best] = search.best()
    finished = [result for result in search.results() if result.status == "finished"]
    assert best == max(finished, key=lambda result: result.values)
    down = with_(objectives=("l2",))
    search = simulate(down, random.Random(0))
    assert search.best() == [min((o for o in search.results() if o.status == "finished"), key=lambda o: o.values)]


def test_few_configurations_get_more_seeds() -> None:
    """Seeds are for the best: most of what is trained to the end keeps its first."""
    rules = with_(configurations=40, rungs=(), seeds=4)
    search = simulate(rules, random.Random(0))
    counts = sorted((len(c.runs) for c in search.configurations), reverse=True)
    assert counts[0] == 4
    assert counts.count(1) >= 40 / 2
    by_seeds = [
        [
            o.values[0]
            for o, c in zip(search.results(), search.configurations, strict=True)
            if (len(c.runs) > 1) == is_promoted
        ]
        for is_promoted in (True, False)
    ]
    assert statistics.fmean(by_seeds[0]) > statistics.fmean(by_seeds[1]) + 0.1


@pytest.mark.parametrize("kind", ["tpe", "random"])
@pytest.mark.parametrize("fails", [none_fails, some_fail])
def test_two_objectives_end_with_a_front(kind: str, fails: Fails) -> None:
    rules = with_(configurations=16, objectives=("mig", "l2"), rungs=(), parallel=3)
    search = simulate(rules, random.Random(0), kind=kind, fails=fails)
    assert_sound(search, rules)
    front = {result.number for result in search.best()}
    assert len(front) > 1 or fails is some_fail
    for result in search.results():
        if result.status == "finished" and result.number not in front:
            assert any(dominates(best.values, result.values, rules.objectives) for best in search.best())
    for seed in (1, 2, 3):
        assert outcome(simulate(rules, random.Random(seed), kind=kind, fails=fails)) == outcome(search)
    assert outcome(simulate_killed(rules, 0, Disk(), fails, kind)) == outcome(search)


def test_failures_are_no_results_and_stop_nothing_else() -> None:
    rules = with_(configurations=20, parallel=3)
    search = simulate(rules, random.Random(0), fails=some_fail)
    assert_sound(search, rules)
    failed = [result for result in search.results() if result.status == "failed"]
    assert failed
    assert all(result.values == () for result in failed)
    assert not {result.number for result in failed} & {result.number for result in search.best()}


def test_a_search_whose_members_all_fail_ends_without_a_best() -> None:
    for parallel in (1, 3):
        rules = with_(configurations=14, parallel=parallel)
        search = simulate(rules, random.Random(0), fails=all_fail)
        assert_sound(search, rules)
        assert search.best() == []
        assert "finished" not in {result.status for result in search.results()}


# Whatever is known at the moment


@pytest.mark.parametrize("fails", [none_fails, some_fail])
@pytest.mark.parametrize("first_seeds", [1, 2])
@pytest.mark.parametrize("parallel", [1, 2, 5])
def test_searches_that_are_not_reproducible_end_soundly(parallel: int, first_seeds: int, fails: Fails) -> None:
    rules = with_(configurations=14, parallel=parallel, first_seeds=first_seeds, reproducible=False)
    for seed in range(3):
        disk = Disk()
        assert_sound(simulate(rules, random.Random(seed), disk, fails=fails), rules)
        assert_trained_once(disk, rules)
        disk = Disk()
        assert_sound(simulate_killed(rules, seed, disk, fails), rules)
        assert_trained_once(disk, rules)


@pytest.mark.parametrize("parallel", [2, 5])
def test_what_has_finished_stays_finished_when_the_search_is_started_again(parallel: int) -> None:
    rules = with_(configurations=20, parallel=parallel, reproducible=False)
    for seed in range(6):
        disk = Disk()
        first, again = (simulate(rules, random.Random(seed), disk, kind="random") for _ in range(2))
        for before, after in zip(first.results(), again.results(), strict=True):
            assert after.status == before.status
            assert after.point == before.point


# Going on with more


def raised_iterations(rules: Rules) -> Rules:
    iterations = 3 * rules.iterations
    rungs = halving.rungs(rules.rungs[0], rules.reduction, iterations, every=10)
    assert rungs[: len(rules.rungs)] == rules.rungs
    return dataclasses.replace(rules, iterations=iterations, rungs=rungs)


def more_configurations(rules: Rules) -> Rules:
    return dataclasses.replace(rules, configurations=rules.configurations + 8)


def more_seeds(rules: Rules) -> Rules:
    return dataclasses.replace(rules, seeds=rules.seeds + 2)


RAISES = [raised_iterations, more_configurations, more_seeds]


@pytest.mark.parametrize("ended", [True, False], ids=["ended before", "killed before"])
@pytest.mark.parametrize("parallel", [1, 2, 5])
@pytest.mark.parametrize("raised", RAISES)
def test_raised_limits_go_on_with_what_is_there(raised: Callable[[Rules], Rules], parallel: int, ended: bool) -> None:
    rules = with_(configurations=14, parallel=parallel)
    disk = Disk()
    with contextlib.nullcontext() if ended else pytest.raises(KilledError):
        simulate(rules, random.Random(0), disk, fails=some_fail, kill_after=math.inf if ended else 60)
    before = copy.deepcopy(disk)
    search = simulate(raised(rules), random.Random(1), disk, fails=some_fail)
    assert_sound(search, raised(rules))
    assert_trained_once(disk, raised(rules))
    assert disk.suggestions[: len(before.suggestions)] == before.suggestions
    assert [c.suggestion for c in search.configurations] == disk.suggestions
    assert len(disk.suggestions) == raised(rules).configurations
    for name, rows in before.rows.items():
        assert disk.rows[name][: len(rows)] == rows
        status, rung = before.ends.get(name, ("open", None))
        if status in ("stopped", "failed"):
            assert disk.rows[name] == rows
            assert disk.ends[name] == (status, rung)


@pytest.mark.parametrize("raised", RAISES)
def test_raised_limits_give_the_same_whatever_the_timing(raised: Callable[[Rules], Rules]) -> None:
    for parallel in (2, 5):
        rules = with_(configurations=14, parallel=parallel)
        disk = Disk()
        simulate(rules, random.Random(0), disk, fails=some_fail)
        disks = [copy.deepcopy(disk) for _ in range(4)]
        searches = [simulate(raised(rules), random.Random(i), d, fails=some_fail) for i, d in enumerate(disks)]
        killed = simulate_killed(raised(rules), 0, copy.deepcopy(disk), some_fail)
        assert all(outcome(search) == outcome(searches[0]) for search in [*searches, killed])


def test_raised_configurations_leave_the_others_as_they_are() -> None:
    """Those that were there keep their verdicts and their rows; added seeds apart, only new ones train."""
    rules = with_(configurations=14)
    disk = Disk()
    first = simulate(rules, random.Random(0), disk)
    before = copy.deepcopy(disk)
    again = simulate(more_configurations(rules), random.Random(0), disk)
    for ours, theirs in zip(again.configurations, first.configurations, strict=False):
        assert (ours.suggestion, ours.stopped_at) == (theirs.suggestion, theirs.stopped_at)
        for run in ours.first:
            assert disk.rows[run.config.content_hash] == before.rows[run.config.content_hash]


def test_raised_seeds_train_nothing_but_seeds() -> None:
    rules = with_(configurations=14)
    disk = Disk()
    first = simulate(rules, random.Random(0), disk)
    before = copy.deepcopy(disk)
    again = simulate(more_seeds(rules), random.Random(0), disk)
    assert [c.suggestion for c in again.configurations] == [c.suggestion for c in first.configurations]
    new = set(disk.rows) - set(before.rows)
    assert new
    assert new <= {run.config.content_hash for configuration in again.configurations for run in configuration.more}
    assert {name: disk.rows[name] for name in before.rows} == before.rows


def test_raised_iterations_train_what_was_not_stopped_on_to_the_new_end() -> None:
    rules = with_(configurations=14, parallel=1)
    disk = Disk()
    first = simulate(rules, random.Random(0), disk)
    again = simulate(raised_iterations(rules), random.Random(0), disk)
    for ours, theirs in zip(again.configurations, first.configurations, strict=True):
        assert ours.suggestion == theirs.suggestion
        if theirs.stopped_at is not None:
            assert ours.stopped_at == theirs.stopped_at
        else:
            assert ours.stopped_at == 90 or ours.first[0].reached == 270


# Spaces that come to an end


SMALL_SPACES = {"tau=0,1": 2, "z_dim=1:3 tau=0,1": 6, "z_dim=1:5 gamma_tc=1,2,4": 15}
"""Spaces, and how many configurations they have."""


@pytest.mark.parametrize("reproducible", [True, False])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *itertools.product(["tpe", "sobol", "random"], SMALL_SPACES),
        *(("gp", text) for text in list(SMALL_SPACES)[:2]),  # with more, its model takes seconds
    ],
)
def test_a_small_space_is_tried_as_a_whole(kind: str, text: str, reproducible: bool) -> None:
    rules = with_(configurations=40, rungs=() if kind == "gp" else RULES.rungs, reproducible=reproducible)
    search = simulate(rules, random.Random(0), kind=kind, space=parse_space(text.split()))
    assert search.is_exhausted
    assert len(search.configurations) == SMALL_SPACES[text]
    assert_sound(search, rules)


def test_an_exhausted_search_is_the_same_when_it_is_killed() -> None:
    space = parse_space(["z_dim=1:3", "tau=0,1"])
    expected = simulate(RULES, random.Random(0), space=space)
    disk = Disk()
    for kill_after in (3, 10, 30):
        with pytest.raises(KilledError):
            simulate(RULES, random.Random(1), disk, space=space, kill_after=kill_after)
    search = simulate(RULES, random.Random(1), disk, space=space)
    assert outcome(search) == outcome(expected)
    assert search.is_exhausted


def test_a_large_space_is_not_exhausted() -> None:
    assert not simulate(FEW, random.Random(0)).is_exhausted


# Step by step


class Scripted:
    """A search whose suggestions are τ = 1, 2, …, moved along by hand."""

    def __init__(self, rules: Rules, points: Sequence[float] | None = None) -> None:
        self.known: list[list[Observation]] = []
        self.attempts: list[int] = []
        self.points = points
        self.search = Search(rules, self.ask, self.member)

    def ask(self, number: int, known: Sequence[Observation], attempt: int) -> Suggestion:
        self.known.append(list(known))
        self.attempts.append(attempt)
        tau = float(number + 1) if self.points is None else self.points[(number + attempt) % len(self.points)]
        return Suggestion({"tau": tau}, {})

    def member(self, suggestion: Suggestion, seed: int) -> MemberConfig:
        return MemberConfig(tau=suggestion.point["tau"], seed=seed)

    def start(self) -> list[str]:
        """The members of the next job; none where there is nothing to do but wait."""
        return [member.content_hash for member in self.search.next() or []]

    def row(self, member: str, iteration: int, mig: float = 0.5) -> None:
        self.search.observe(member, [{"iteration": iteration, "held_out_mig": mig, "held_out_l2": 0.5}])

    def told(self) -> list[tuple[str, tuple[float, ...]]]:
        """What the last suggestion knew."""
        return [(observation.status, observation.values) for observation in self.known[-1]]


PLAIN = with_(rungs=(), seeds=1)


@pytest.mark.parametrize("parallel", [1, 3])
def test_no_more_jobs_at_once_than_allowed(parallel: int) -> None:
    script = Scripted(with_(parallel=parallel, first_seeds=2, configurations=9))
    jobs = [script.start() for _ in range(parallel)]
    assert [len(job) for job in jobs] == [2] * parallel
    assert script.start() == []
    assert not script.search.is_done
    for iteration in range(10, 100, 10):
        for member in jobs[0]:
            script.row(member, iteration)
    assert script.start() == []  # at the end, and not yet over
    for member in jobs[0]:
        script.search.end(member, "finished")
    assert bool(script.start()) == (parallel == 1)  # the clock waits for the others
    assert script.start() == []


def test_a_suggestion_knows_what_had_ended_by_its_time_and_nothing_else() -> None:
    script = Scripted(PLAIN)
    [first], [second] = script.start(), script.start()
    assert [script.known[0], script.told()] == [[], [("running", ())]]
    for iteration in range(10, 100, 10):
        script.row(second, iteration, 0.7)
    script.search.end(second, "finished")
    assert script.start() == []  # at a time when the first may have ended, too
    for iteration in range(10, 90, 10):
        script.row(first, iteration, 0.1)
        assert script.start() == []
    script.row(first, 90, 0.6)
    script.search.end(first, "finished")
    script.start()
    assert script.told() == [("finished", (0.6,)), ("finished", (0.7,))]


def test_what_is_not_reproducible_does_not_wait() -> None:
    script = Scripted(with_(rungs=(), seeds=1, reproducible=False))
    _, [second] = script.start(), script.start()
    script.row(second, 90, 0.7)
    script.search.end(second, "finished")
    assert script.start()
    assert script.told() == [("running", ()), ("finished", (0.7,))]


def test_a_failure_takes_its_place_in_time() -> None:
    """After its last row and before the next: whoever has reached as far may have failed at the same time."""
    script = Scripted(PLAIN)
    [first], [second] = script.start(), script.start()
    script.row(first, 40)
    script.row(second, 40)
    script.search.end(first, "failed")
    assert script.start() == []
    script.row(second, 50)
    assert script.start()
    assert script.told() == [("failed", ()), ("running", ())]


def test_jobs_start_where_the_clock_is() -> None:
    """The third at 21, after a failure behind 20: its own failure behind 20 is at 42, where the second may be."""
    script = Scripted(PLAIN)
    [first], [second] = script.start(), script.start()
    script.row(second, 30)
    script.row(first, 20)
    script.search.end(first, "failed")
    [third] = script.start()
    script.row(third, 20)
    script.search.end(third, "failed")
    assert script.start() == []
    script.row(second, 50)
    assert script.start()
    assert script.told() == [("failed", ()), ("running", ()), ("failed", ())]


def test_a_verdict_is_not_known_before_its_time() -> None:
    """The third starts at 10 and is stopped at 20; the fourth starts at 11, after a failure behind 10."""
    script = Scripted(with_(rungs=(10,), seeds=1))
    [first], [second] = script.start(), script.start()
    script.row(first, 10, 0.9)
    script.search.end(first, "failed")
    script.row(second, 10, 0.1)
    [third] = script.start()
    assert script.told() == [("running", ()), ("stopped", (0.1,))]
    script.row(third, 10, 0.2)
    assert script.search.configuration_of(third).stopped_at == 10
    assert script.start()
    assert script.told() == [("failed", ()), ("stopped", (0.1,)), ("running", ())]


def test_the_best_is_confirmed_when_all_configurations_have_ended() -> None:
    """The third runs from 21 to 111, so it is open who is the best when the second ends at 90."""
    script = Scripted(with_(rungs=(), configurations=3, seeds=2))
    [first], [second] = script.start(), script.start()
    script.row(first, 20)
    script.row(second, 30)
    script.search.end(first, "failed")
    [third] = script.start()
    script.row(third, 80)
    script.row(second, 90, 0.5)
    script.search.end(second, "finished")
    assert script.start() == []
    script.row(third, 90, 0.6)
    script.search.end(third, "finished")
    [again] = script.start()
    assert script.search.configuration_of(again).number == 2


def test_a_front_of_too_few_gets_no_more_seeds_yet() -> None:
    script = Scripted(with_(rungs=(), objectives=("mig", "l2"), parallel=1, configurations=9))
    numbers = []
    for mig in (0.1, 0.2, 0.3, 0.4):
        [member] = script.start()
        numbers.append(script.search.configuration_of(member).number)
        script.row(member, 90, mig)
        script.search.end(member, "finished")
    assert numbers == [0, 1, 2, 2]


def test_two_failures_at_one_time_are_known_together() -> None:
    script = Scripted(PLAIN)
    [first], [second] = script.start(), script.start()
    for member in (second, first):
        script.row(member, 40)
        script.search.end(member, "failed")
    assert script.start()
    assert script.told() == [("failed", ()), ("failed", ())]


def test_the_clock_waits_for_a_seed_that_may_still_be_stopped() -> None:
    """Of two seeds one is far ahead; their mean at the rung can still end both of them there."""
    script = Scripted(with_(rungs=(10,), first_seeds=2))
    first, second = script.start(), script.start()
    for member in first:
        script.row(member, 10, 0.9)
        script.row(member, 20, 0.9)
        script.search.end(member, "failed")
    script.row(second[0], 10, 0.1)
    script.row(second[0], 60, 0.1)
    assert script.start() == []
    script.row(second[1], 10, 0.1)
    assert script.search.configuration_of(second[1]).stopped_at == 10
    assert script.start()
    assert script.told() == [("running", ()), ("stopped", (0.1,))]


def test_a_failed_seed_leaves_nothing_to_wait_for_at_a_rung() -> None:
    script = Scripted(with_(rungs=(10,), first_seeds=2, parallel=1))
    first = script.start()
    script.search.end(first[0], "failed")
    assert script.start() == []
    script.row(first[1], 90)
    script.search.end(first[1], "finished")
    assert script.start()
    assert script.told() == [("failed", ())]


def test_suggestions_that_are_there_already_are_asked_for_again() -> None:
    script = Scripted(with_(parallel=3, configurations=9), points=[1.0, 1.0, 1.0, 2.0])
    jobs = [script.start() for _ in range(3)]
    assert [bool(job) for job in jobs] == [True, True, False]
    assert script.attempts == [0, 0, 1, 2, *range(ATTEMPTS)]
    assert script.search.is_exhausted
    assert [c.suggestion.point["tau"] for c in script.search.configurations] == [1, 2]


def test_what_is_remembered_is_not_asked_for() -> None:
    asked: list[int] = []
    remembered: list[tuple[int, Suggestion]] = []

    def ask(number: int, known: Sequence[Observation], attempt: int) -> Suggestion:
        asked.append(number)
        return Suggestion({"tau": 10.0 + number}, {"state": number})

    search = Search(
        with_(parallel=4, configurations=4),
        ask,
        lambda suggestion, seed: MemberConfig(tau=suggestion.point["tau"], seed=seed),
        [Suggestion({"tau": tau}, {}) for tau in (3.0, 4.0)],
        lambda number, suggestion: remembered.append((number, suggestion)),
    )
    taus = [member.tau for _ in range(4) for member in search.next() or []]
    assert taus == [3, 4, 12, 13]
    assert asked == [2, 3]
    assert remembered == [(number, Suggestion({"tau": 10.0 + number}, {"state": number})) for number in (2, 3)]


def test_the_best_gets_another_seed_before_new_configurations_come() -> None:
    """Once there are enough to speak of a best part; and of those with two seeds the same again."""
    script = Scripted(with_(rungs=(), seeds=3, parallel=1, configurations=9))
    trained: list[tuple[int, int]] = []
    while job := script.start():
        configuration = script.search.configuration_of(job[0])
        seed = len(configuration.runs) - 1
        trained.append((configuration.number, seed))
        script.row(job[0], 90, {0: 0.1, 1: 0.9, 2: 0.2, 3: 0.8, 4: 0.3}.get(configuration.number, 0.7))
        script.search.end(job[0], "finished")
    firsts = [number for number, seed in trained if not seed]
    assert firsts == list(range(9))
    assert trained[:4] == [(0, 0), (1, 0), (2, 0), (1, 1)]
    assert trained.index((3, 1)) == trained.index((5, 0)) + 1  # of six, the second best
    assert trained.index((1, 2)) > trained.index((8, 0))  # of two with two seeds there is no best third
    assert {(number, seed) for number, seed in trained if seed == 2} == {(1, 2)}


def test_rows_that_come_again_change_nothing() -> None:
    """A trial that is started again tells its history from the beginning."""
    script = Scripted(PLAIN)
    [first], [second] = script.start(), script.start()
    for iteration in (10, 20, 30, 40, 10):
        script.row(second, iteration)
    script.row(first, 30)
    script.search.end(first, "failed")
    assert script.start()  # at a time that the second is known to be beyond
    assert script.told() == [("failed", ()), ("running", ())]


def test_what_an_earlier_command_stopped_is_told_as_that() -> None:
    script = Scripted(with_(parallel=1))
    [first] = script.start()
    script.row(first, 10, 0.4)
    script.search.end(first, "stopped", 10)
    assert script.start()
    assert script.told() == [("stopped", (0.4,))]


# What it finds


def searched(monkeypatch: pytest.MonkeyPatch, rules: Rules, kind: str, seed: int) -> tuple[Search, Disk]:
    """A search with another seed of its sampler, and what it trained."""

    def sampler(**fields: object) -> Sampler:
        return Sampler(**{**fields, "seed": seed})  # type: ignore[arg-type]

    monkeypatch.setattr(simulation, "Sampler", sampler)
    disk = Disk()
    return simulate(rules, random.Random(seed), disk, kind=kind), disk


def true_quality(search: Search) -> float:
    """Of what it takes for the best, without noise: 1 at most."""
    [best] = search.best()
    return quality(search.configurations[best.number].first[0].config)


def test_a_search_ends_nearer_to_the_optimum_than_chance_at_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = with_(configurations=40)
    found, by_chance = [], []
    for seed in range(8):
        search, disk = searched(monkeypatch, rules, "tpe", seed)
        found.append(true_quality(search))
        to_the_end = with_(configurations=disk.trained // rules.iterations, rungs=(), seeds=1)
        search, other = searched(monkeypatch, to_the_end, "random", seed)
        assert other.trained == pytest.approx(disk.trained, abs=rules.iterations)
        by_chance.append(true_quality(search))
    assert statistics.fmean(found) > 0.9
    assert 1 - statistics.fmean(found) < 0.6 * (1 - statistics.fmean(by_chance))


def test_stopping_saves_most_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a loss of quality that does not show beside it."""
    costs, qualities = {}, {}
    for name, rungs in (("stopping", (10, 30)), ("to the end", ())):
        runs = [searched(monkeypatch, with_(configurations=30, rungs=rungs), "random", seed) for seed in range(6)]
        costs[name] = sum(disk.trained for _, disk in runs)
        qualities[name] = statistics.fmean(true_quality(search) for search, _ in runs)
    assert costs["stopping"] < 0.6 * costs["to the end"]
    assert qualities["stopping"] > qualities["to the end"] - 0.05
