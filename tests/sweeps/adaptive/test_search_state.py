"""The search as a whole, without Ray: the same whatever the timing and whatever kills it, and what it finds."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
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
from tests.sweeps.adaptive.simulation import RULES, Disk, Fails, KilledError, quality, row_of, simulate, with_


def outcome(search: Search) -> list[tuple[object, ...]]:
    """All that a search has decided: points, what became of them, with which values and where, and seeds."""
    return [
        (dict(o.point), o.status, o.values, o.iteration, len(search.configurations[o.number].runs))
        for o in search.results()
    ]


def none_fails(config: MemberConfig) -> int | None:
    return None


def some_fail(config: MemberConfig) -> int | None:
    """Three of ten members diverge, at any time."""
    generator = random.Random(f"failure of {config.content_hash}")
    return generator.choice([0, 5, 10, 15, 25, 35, 65, 85]) if generator.random() < 0.3 else None


def simulate_killed(rules: Rules, seed: int, disk: Disk, fails: Fails, kind: str = "tpe") -> Search:
    """KilledError after every few events, or before the first, and started again until it comes to its end."""
    timing = random.Random(seed)
    while True:
        with contextlib.suppress(KilledError):
            return simulate(rules, timing, disk, kill_after=timing.choice([0, 1, 2, 5, 20]), fails=fails, kind=kind)


def assert_trained_once(disk: Disk, rules: Rules) -> None:
    """No iteration of a member was trained again, and none behind the end."""
    for rows in disk.rows.values():
        assert [row["iteration"] for row in rows] == list(range(10, 10 * len(rows) + 1, 10))
        assert 10 * (len(rows) - 1) < rules.iterations
    failures = sum(status == "failed" for status, _ in disk.ends.values())
    assert disk.trained == 10 * (sum(map(len, disk.rows.values())) + failures)


def assert_sound(search: Search, rules: Rules) -> None:
    """All that holds at the end of any search."""
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
            assert all(run.reached >= rules.iterations for run in configuration.runs)
        if result.status == "stopped":
            assert result.iteration in rules.rungs
            assert not configuration.more
        if result.status == "failed":
            assert any(run.status == "failed" for run in configuration.runs)
            assert result.values == ()
    finished = [result for result in results if result.status == "finished"]
    best = search.best()
    assert bool(best) == bool(finished)
    for result in finished:
        beaten = any(dominates(other.values, result.values, rules.objectives) for other in finished)
        assert beaten != (result.number in {each.number for each in best})
    assert all(search.num_seeds(each.number) == rules.seeds for each in best)


# The same, whatever happens

FEW = with_(configurations=12)
STORIES = {
    "one at a time": (with_(configurations=12, parallel=1), some_fail, "tpe"),
    "two at once": (FEW, some_fail, "tpe"),
    "two seeds first, five at once": (with_(configurations=12, parallel=5, first_seeds=2), some_fail, "random"),
    "all seeds first": (with_(configurations=12, first_seeds=3), none_fails, "sobol"),
    "the sampler's own state": (with_(configurations=12, parallel=3, rungs=()), some_fail, "cmaes"),
    "a front": (with_(configurations=12, parallel=3, rungs=(), objectives=("mig", "l2")), some_fail, "tpe"),
    "rungs that no row meets, an odd end": (with_(configurations=12, rungs=(15, 40), iterations=95), none_fails, "tpe"),
    "nothing finishes": (with_(configurations=12, parallel=3), lambda config: 40, "tpe"),
}


@pytest.mark.parametrize(("rules", "fails", "kind"), STORIES.values(), ids=STORIES)
def test_a_search_is_the_same_whatever_the_timing_and_however_often_it_is_killed(
    rules: Rules, fails: Fails, kind: str
) -> None:
    search = simulate(rules, random.Random(0), fails=fails, kind=kind)
    assert_sound(search, rules)
    for seed in (1, 2, 3):
        assert outcome(simulate(rules, random.Random(seed), fails=fails, kind=kind)) == outcome(search)
    disk = Disk()
    assert outcome(simulate_killed(rules, 4, disk, fails, kind)) == outcome(search)
    assert_trained_once(disk, rules)
    trained, suggestions = disk.trained, list(disk.suggestions)
    if not any(status == "failed" for status, _ in disk.ends.values()):
        assert outcome(simulate(rules, random.Random(5), disk, fails=fails, kind=kind)) == outcome(search)
        assert (disk.trained, disk.suggestions) == (trained, suggestions)


def test_one_at_a_time_is_trained_as_far_as_is_needed_and_no_further() -> None:
    rules = with_(parallel=1)
    disk = Disk()
    search = simulate_killed(rules, 0, disk, some_fail)
    trained = {name: 10 * len(rows) for name, rows in disk.rows.items()}
    for configuration in search.configurations:
        for run in configuration.runs:
            end = configuration.stopped_at or rules.iterations
            assert trained.pop(run.config.content_hash) == end or run.status == "failed"
    assert trained == {}


def test_searches_that_are_not_reproducible_end_soundly_and_keep_what_has_finished() -> None:
    for parallel, first_seeds, fails in itertools.product((1, 5), (1, 2), (none_fails, some_fail)):
        rules = with_(configurations=12, parallel=parallel, first_seeds=first_seeds, reproducible=False)
        disk = Disk()
        assert_sound(simulate_killed(rules, 0, disk, fails), rules)
        assert_trained_once(disk, rules)
    for seed in range(4):
        disk = Disk()
        rules = with_(parallel=5, reproducible=False)
        first, again = (simulate(rules, random.Random(seed), disk, kind="random") for _ in range(2))
        assert [(o.status, o.point) for o in again.results()] == [(o.status, o.point) for o in first.results()]


# Only held-out labels tune


def test_whole_data_never_influences_anything_and_held_out_labels_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other values of whole data, and none, give the same story; other ones of the objective do not."""
    rules = with_(configurations=12, parallel=3)
    expected = outcome(simulate(rules, random.Random(0)))

    def with_other_values(config: MemberConfig, iteration: int) -> Row:
        generator = random.Random(f"{config.content_hash} {iteration}")
        names = ("mig", "l2", "loss", "dci_disentanglement", "held_out_l2")
        return row_of(config, iteration) | {name: generator.uniform(-9, 9) for name in names}

    def with_no_values(config: MemberConfig, iteration: int) -> Row:
        return {name: value for name, value in row_of(config, iteration).items() if name != "mig"}

    def turned(config: MemberConfig, iteration: int) -> Row:
        row = row_of(config, iteration)
        return row | {"held_out_mig": -row["held_out_mig"]}

    for rows, is_same in ((with_other_values, True), (with_no_values, True), (turned, False)):
        monkeypatch.setattr(simulation, "row_of", rows)
        assert (outcome(simulate(rules, random.Random(0))) == expected) == is_same
    assert rules.objective_values({"iteration": 10, "mig": 0.5, "l2": 0.1}) is None
    both = with_(objectives=("l2", "mig"))
    assert both.objective_values({"mig": 0.5, "held_out_mig": 0.3, "held_out_l2": 0.2}) == (0.2, 0.3)


def test_results_are_means_over_seeds_and_the_best_mean_wins() -> None:
    for objective, sign in (("mig", 1), ("l2", -1)):
        disk, rules = Disk(), with_(first_seeds=2, parallel=3, objectives=(objective,))
        search = simulate(rules, random.Random(0), disk)
        assert {result.status for result in search.results()} == {"finished", "stopped"}
        for result in search.results():
            runs = search.configurations[result.number].runs
            iteration = result.iteration if result.status == "stopped" else rules.iterations
            rows = [disk.rows[run.config.content_hash][iteration // 10 - 1] for run in runs]
            assert result.values == pytest.approx([statistics.fmean(row[f"held_out_{objective}"] for row in rows)])
        finished = [result for result in search.results() if result.status == "finished"]
        assert search.best() == [max(finished, key=lambda result: sign * result.values[0])]


# Going on with more


def raised_iterations(rules: Rules) -> Rules:
    rungs = halving.rungs(rules.rungs[0], rules.reduction, 3 * rules.iterations, every=10)
    assert rungs[: len(rules.rungs)] == rules.rungs
    return dataclasses.replace(rules, iterations=3 * rules.iterations, rungs=rungs)


def more_configurations(rules: Rules) -> Rules:
    return dataclasses.replace(rules, configurations=rules.configurations + 8)


def more_seeds(rules: Rules) -> Rules:
    return dataclasses.replace(rules, seeds=rules.seeds + 2)


@pytest.mark.parametrize(
    "raise_", [raised_iterations, pytest.param(more_configurations, marks=pytest.mark.slow), more_seeds]
)
def test_raised_limits_go_on_with_what_is_there(raise_: Callable[[Rules], Rules]) -> None:
    """No matter whether it ended before or was killed; the same whatever the timing."""
    for parallel, kill_after in itertools.product((1, 5), (60, 10**9)):
        rules = with_(configurations=12, parallel=parallel)
        raised, disk = raise_(rules), Disk()
        with contextlib.suppress(KilledError):
            simulate(rules, random.Random(0), disk, fails=some_fail, kill_after=kill_after)
        before, other = copy.deepcopy(disk), copy.deepcopy(disk)
        search = simulate(raised, random.Random(1), disk, fails=some_fail)
        assert_sound(search, raised)
        assert_trained_once(disk, raised)
        assert disk.suggestions[: len(before.suggestions)] == before.suggestions
        assert len(disk.suggestions) == raised.configurations
        for name, rows in before.rows.items():
            assert disk.rows[name][: len(rows)] == rows
            end = before.ends.get(name, ("open", None))
            if end[0] in ("stopped", "failed"):
                assert (disk.rows[name], disk.ends[name]) == (rows, end)
            elif end[0] == "finished" and raise_ is not raised_iterations:
                assert disk.rows[name] == rows
        assert outcome(simulate_killed(raised, 2, other, some_fail)) == outcome(search)


# Spaces that come to an end


@pytest.mark.slow
def test_a_small_space_is_tried_as_a_whole() -> None:
    sizes = {"tau=0,1": 2, "z_dim=1:3 tau=0,1": 6, "z_dim=1:5 gamma_tc=1,2,4": 15}
    stories = [*itertools.product(["tpe", "sobol", "random"], sizes), ("gp", "z_dim=1:3 tau=0,1")]
    for (kind, text), reproducible in itertools.product(stories, (True, False)):
        if kind == "gp" and not reproducible:
            continue  # its model takes seconds
        rungs = () if kind == "gp" else RULES.rungs
        rules = with_(configurations=40, rungs=rungs, reproducible=reproducible)
        search = simulate(rules, random.Random(0), kind=kind, space=parse_space(text.split()))
        assert search.is_exhausted
        assert len(search.configurations) == sizes[text]
        assert_sound(search, rules)
    assert not simulate(FEW, random.Random(0)).is_exhausted


# Step by step


class Scripted:
    """A search whose suggestions are τ = 1, 2, …, or points over and over, moved along by hand."""

    def __init__(self, points: Sequence[float] | None = None, **changes: object) -> None:
        self.known: list[list[Observation]] = []
        self.attempts: list[int] = []
        self.points = points
        self.search = Search(with_(**{"rungs": (), "seeds": 1, **changes}), self.ask, self.member)

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
        """All that the last suggestion knew."""
        return [(observation.status, observation.values) for observation in self.known[-1]]


def test_no_more_jobs_at_once_than_allowed() -> None:
    script = Scripted(parallel=3, first_seeds=2, seeds=3, configurations=9)
    jobs = [script.start() for _ in range(3)]
    assert [len(job) for job in jobs] == [2, 2, 2]
    assert script.start() == []
    assert not script.search.is_done
    for member in jobs[0]:
        script.row(member, 90)
        script.search.end(member, "finished")
    assert script.start() == []  # the clock waits for the others


def test_a_suggestion_knows_what_had_ended_by_its_time_and_nothing_else() -> None:
    script = Scripted()
    [first], [second] = script.start(), script.start()
    assert [script.known[0], script.told()] == [[], [("running", ())]]
    script.row(second, 90, 0.7)
    script.search.end(second, "finished")
    assert script.start() == []  # at a time when the first may have ended, too
    script.row(first, 80, 0.1)
    assert script.start() == []
    script.row(first, 90, 0.6)
    script.search.end(first, "finished")
    script.start()
    assert script.told() == [("finished", (0.6,)), ("finished", (0.7,))]
    at_once = Scripted(reproducible=False)
    _, [second] = at_once.start(), at_once.start()
    at_once.row(second, 90, 0.7)
    at_once.search.end(second, "finished")
    assert at_once.start()
    assert at_once.told() == [("running", ()), ("finished", (0.7,))]


def test_a_verdict_is_not_known_before_its_time() -> None:
    """The third starts at 10 and is stopped at 20; the fourth starts at 11, after a failure behind 10."""
    script = Scripted(rungs=(10,))
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
    script = Scripted(configurations=3, seeds=2)
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


def test_the_best_gets_another_seed_before_new_configurations_come() -> None:
    """Once there are enough to speak of a best part; and of those with two seeds the same again."""
    script = Scripted(seeds=3, parallel=1, configurations=9)
    trained: list[tuple[int, int]] = []
    while job := script.start():
        configuration = script.search.configuration_of(job[0])
        trained.append((configuration.number, len(configuration.runs) - 1))
        script.row(job[0], 90, {0: 0.1, 1: 0.9, 2: 0.2, 3: 0.8, 4: 0.3}.get(configuration.number, 0.7))
        script.search.end(job[0], "finished")
    assert [number for number, seed in trained if not seed] == list(range(9))
    assert trained[:4] == [(0, 0), (1, 0), (2, 0), (1, 1)]
    assert trained.index((3, 1)) == trained.index((5, 0)) + 1  # of six, the second best
    assert {(number, seed) for number, seed in trained if seed == 2} == {(1, 2)}
    assert trained.index((1, 2)) > trained.index((8, 0))  # of two with two seeds there is no best third


def test_suggestions_that_are_there_are_asked_for_again_and_remembered_ones_never() -> None:
    script = Scripted([1.0, 1.0, 1.0, 2.0], parallel=3, configurations=9)
    assert [bool(script.start()) for _ in range(3)] == [True, True, False]
    assert script.attempts == [0, 0, 1, 2, *range(ATTEMPTS)]
    assert script.search.is_exhausted
    script, remembered = Scripted(), list[tuple[int, Suggestion]]()
    known = [Suggestion({"tau": tau}, {}) for tau in (30.0, 40.0)]
    search = Search(
        with_(parallel=3, configurations=3),
        script.ask,
        script.member,
        known,
        lambda number, suggestion: remembered.append((number, suggestion)),
    )
    assert [member.tau for _ in range(3) for member in search.next() or []] == [30, 40, 3]
    assert remembered == [(2, Suggestion({"tau": 3.0}, {}))]


# What it finds


def searched(monkeypatch: pytest.MonkeyPatch, rules: Rules, kind: str, seed: int) -> tuple[float, Disk]:
    """The true quality of what a search with a sampler's seed takes for the best, 1 at most, and what it trained."""
    monkeypatch.setattr(simulation, "Sampler", lambda **fields: Sampler(**(fields | {"seed": seed})))
    disk = Disk()
    search = simulate(rules, random.Random(seed), disk, kind=kind)
    [best] = search.best()
    return quality(search.configurations[best.number].first[0].config), disk


@pytest.mark.slow
def test_it_ends_nearer_to_the_optimum_than_chance_at_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = with_(configurations=40)
    found, by_chance = [], []
    for seed in range(6):
        quality_found, disk = searched(monkeypatch, rules, "tpe", seed)
        found.append(quality_found)
        to_the_end = with_(configurations=disk.trained // rules.iterations, rungs=(), seeds=1)
        by_chance.append(searched(monkeypatch, to_the_end, "random", seed)[0])
    assert statistics.fmean(found) > 0.9
    assert 1 - statistics.fmean(found) < 0.6 * (1 - statistics.fmean(by_chance))


def test_stopping_saves_most_of_the_training_at_no_loss_that_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    costs, qualities = [], []
    for rungs in ((10, 30), ()):
        runs = [searched(monkeypatch, with_(configurations=30, rungs=rungs), "random", seed) for seed in range(6)]
        costs.append(sum(disk.trained for _, disk in runs))
        qualities.append(statistics.fmean(quality_found for quality_found, _ in runs))
    assert costs[0] < 0.6 * costs[1]
    assert qualities[0] > qualities[1] - 0.05
