"""Rungs, and which configurations pass them: ranks among those before, whatever the order in which news comes."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Sequence

import pytest

from larvae.config import MemberConfig
from sweeps.adaptive import halving
from sweeps.adaptive.configurations import Configuration, Rules, Run
from sweeps.adaptive.objectives import Values
from sweeps.adaptive.sampling import Suggestion
from tests.sweeps.adaptive.simulation import RULES, with_

FIRST, SECOND = RULES.rungs
Table = Sequence[Sequence[Values]]
"""Values by configuration and rung."""


def new_configurations(count: int, seeds: int = 1) -> list[Configuration]:
    return [
        Configuration(number, Suggestion({}, {}), [Run(MemberConfig(seed=seed)) for seed in range(seeds)])
        for number in range(count)
    ]


def observe(run: Run, iteration: int, *values: float) -> None:
    run.reached = max(run.reached, iteration)
    run.values[iteration] = values


def random_table(generator: random.Random, count: int, rules: Rules) -> Table:
    """With some values that are equal."""
    return [[tuple(round(generator.random(), 1) for _ in rules.objectives) for _ in rules.rungs] for _ in range(count)]


def verdicts(configurations: Iterable[Configuration]) -> list[tuple[int, int | None]]:
    return [(configuration.rungs_passed, configuration.stopped_at) for configuration in configurations]


def judged(table: Table, rules: Rules, order: random.Random | None = None) -> list[tuple[int, int | None]]:
    """Verdicts where news comes in a random order, a judgement after each, and those that are stopped send no more."""
    configurations = new_configurations(len(table))
    while True:
        open_ = [c for c in configurations if c.stopped_at is None and len(c.first[0].values) < len(rules.rungs)]
        if not open_:
            return verdicts(configurations)
        chosen = order.choice(open_) if order else open_[0]
        place = len(chosen.first[0].values)
        observe(chosen.first[0], rules.rungs[place], *table[chosen.number][place])
        halving.judge(configurations, rules)


def expected(table: Table, rules: Rules) -> list[tuple[int, int | None]]:
    """The same by the rule itself, one configuration after the other, for one objective."""
    passed: list[int] = []
    for number, values in enumerate(table):
        passed.append(0)
        for place in range(len(rules.rungs)):
            there = [table[other][place][0] for other in range(number) if passed[other] >= place]
            rank = sum(value > values[place][0] for value in there)
            if rank >= math.ceil((len(there) + 1) / rules.reduction):
                break
            passed[-1] += 1
    return [(count, rules.rungs[count] if count < len(rules.rungs) else None) for count in passed]


# Rungs


def test_rungs_ascend_below_the_end_in_multiples() -> None:
    generator = random.Random(0)
    for _ in range(2000):
        first, reduction = generator.randint(1, 500), generator.randint(2, 5)
        iterations, every = generator.randint(1, 10_000), generator.randint(1, 200)
        found = halving.rungs(first, reduction, iterations, every)
        assert list(found) == sorted(set(found))
        assert all(rung < iterations and rung % every == 0 and rung >= first for rung in found)
        unrounded = [first * reduction**power for power in range(40)]
        for rung in found:  # each belongs to one of the geometric sequence, just below it
            assert any(rung - every < other <= rung for other in unrounded)
        for other in unrounded:  # and each of these has one, where there is room below the end
            assert other > iterations - every or any(other <= rung < other + every for rung in found)


def test_rungs_of_a_schedule_that_fits() -> None:
    assert halving.rungs(100, 3, 900, 100) == (100, 300)
    assert halving.rungs(100, 3, 901, 100) == (100, 300, 900)
    assert halving.rungs(100, 2, 1000, 50) == (100, 200, 400, 800)


@pytest.mark.parametrize(("first", "every"), [(900, 100), (1000, 100), (1, 900), (850, 100)])
def test_no_rung_lies_at_the_end_or_behind(first: int, every: int) -> None:
    assert halving.rungs(first, 3, 900, every) == ()


def test_rungs_that_fall_together_are_one() -> None:
    assert halving.rungs(10, 2, 1000, 300) == (300, 600, 900)


# Verdicts that are reproducible


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_verdicts_are_the_rule_s_in_whatever_order_news_comes(reduction: int) -> None:
    rules = with_(reduction=reduction)
    generator = random.Random(reduction)
    for _ in range(60):
        table = random_table(generator, generator.randint(1, 12), rules)
        assert judged(table, rules, generator) == judged(table, rules) == expected(table, rules)


def test_verdicts_on_two_objectives_are_the_same_in_whatever_order_news_comes() -> None:
    rules = with_(objectives=("mig", "l2"))
    generator = random.Random(0)
    for _ in range(60):
        table = random_table(generator, 10, rules)
        assert judged(table, rules, generator) == judged(table, rules)


def test_verdicts_do_not_know_later_configurations() -> None:
    generator = random.Random(1)
    for _ in range(60):
        table = random_table(generator, 12, RULES)
        count = generator.randint(1, 11)
        assert judged(table, RULES)[:count] == judged(table[:count], RULES)


def test_verdicts_depend_on_ranks_alone() -> None:
    generator = random.Random(2)
    for _ in range(30):
        table = random_table(generator, 12, RULES)
        stretched = [[(math.exp(5 * value) - 100,) for (value,) in values] for values in table]
        assert judged(stretched, RULES) == judged(table, RULES)


def test_l2_is_better_where_it_is_lower() -> None:
    generator = random.Random(3)
    table = random_table(generator, 30, RULES)
    negated = [[(-value,) for (value,) in values] for values in table]
    assert judged(negated, with_(objectives=("l2",))) == judged(table, RULES)
    assert judged(negated, RULES) != judged(table, RULES)


def test_the_best_so_far_passes_and_the_worst_of_two_or_more_does_not() -> None:
    rising = [[(float(number),)] * 2 for number in range(12)]
    assert judged(rising, RULES) == [(2, None)] * 12
    assert judged(rising[::-1], RULES) == [(2, None)] + [(0, FIRST)] * 11


def test_equals_are_not_better() -> None:
    assert judged([[(0.5,)] * 2] * 12, RULES) == [(2, None)] * 12


@pytest.mark.parametrize("reduction", [2, 3, 5])
def test_about_one_part_in_the_reduction_passes(reduction: int) -> None:
    generator = random.Random(reduction)
    rules = with_(reduction=reduction, rungs=(10,))
    passed = [count for count, _ in judged([[(generator.random(),)] for _ in range(400)], rules)]
    assert sum(passed) / 400 == pytest.approx(1 / reduction, abs=0.06)


def test_with_two_objectives_only_what_is_better_in_both_counts() -> None:
    """Of three: another end of the front is not stopped, one inside is."""
    rules = with_(objectives=("mig", "l2"), rungs=(10,))
    front = [[(0.1, 0.1)], [(0.9, 0.9)], [(0.5, 0.5)]]
    assert judged([*front, [(0.05, 0.95)]], rules) == [(1, None)] * 3 + [(0, 10)]
    assert judged([*front, [(0.5, 0.45)]], rules) == [(1, None)] * 4


# What a verdict waits for


def test_a_verdict_waits_for_those_before() -> None:
    before, after = configurations = new_configurations(2)
    observe(after.first[0], FIRST, 0.5)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(0, None), (0, None)]
    observe(before.first[0], FIRST, 0.9)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(1, None), (0, FIRST)]


def test_a_verdict_waits_for_the_mean_of_all_first_seeds() -> None:
    """By which the second is the better one, though its first seed is the worse."""
    before, after = configurations = new_configurations(2, seeds=2)
    for run, value in zip([*before.first, after.first[0]], (0.5, 0.5, 0.1), strict=True):
        observe(run, FIRST, value)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(1, None), (0, None)]
    observe(after.first[1], FIRST, 1.0)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(1, None), (1, None)]


def test_added_seeds_have_no_part_in_a_verdict() -> None:
    before, after = configurations = new_configurations(2)
    observe(before.first[0], FIRST, 0.5)
    before.more.append(Run(MemberConfig(seed=1)))
    observe(before.more[0], FIRST, 0.9)
    observe(after.first[0], FIRST, 0.6)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(1, None), (1, None)]


@pytest.mark.parametrize("status", ["failed", "finished"])
def test_a_verdict_does_not_wait_for_what_has_ended_without_a_value(status: str) -> None:
    """A member that was evaluated elsewhere has none at a rung either."""
    before, after = configurations = new_configurations(2)
    for rung in RULES.rungs:
        observe(after.first[0], rung, 0.5)
    before.first[0].status = status
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(0, None), (2, None)]


def test_a_failure_behind_a_rung_counts_there() -> None:
    before, after = configurations = new_configurations(2)
    observe(before.first[0], FIRST, 0.9)
    before.first[0].status = "failed"
    observe(after.first[0], FIRST, 0.5)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(1, None), (0, FIRST)]


def test_a_failed_seed_does_not_hide_what_the_other_has_yet_to_reach() -> None:
    """One seed failed behind the second rung, the other is on its way there: their mean there will count."""
    before, after = configurations = new_configurations(2, seeds=2)
    for run in (*before.first, *after.first):
        observe(run, FIRST, 0.5)
    observe(before.first[0], SECOND, 0.9)
    before.first[0].status = "failed"
    for run in after.first:
        observe(run, SECOND, 0.5)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(1, None), (1, None)]
    observe(before.first[1], SECOND, 0.9)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(2, None), (1, SECOND)]


def test_what_was_stopped_has_no_part_in_later_rungs() -> None:
    """Though it trained on while the verdict was open."""
    generator = random.Random(4)
    for _ in range(60):
        table = random_table(generator, 10, RULES)
        configurations = new_configurations(10)
        for configuration, values in zip(configurations, table, strict=True):
            for rung, value in zip(RULES.rungs, values, strict=True):
                observe(configuration.first[0], rung, *value)
        halving.judge(configurations, RULES)
        assert verdicts(configurations) == expected(table, RULES)


def test_what_an_earlier_command_stopped_stays_stopped() -> None:
    before, after = configurations = new_configurations(2)
    after.stopped_at = FIRST
    for rung in RULES.rungs:
        observe(before.first[0], rung, 0.5)
        observe(after.first[0], rung, 0.9)
    halving.judge(configurations, RULES)
    assert verdicts(configurations) == [(2, None), (0, FIRST)]


def test_judging_again_changes_nothing() -> None:
    generator = random.Random(5)
    for reproducible in (True, False):
        rules = with_(reproducible=reproducible)
        configurations = new_configurations(12)
        for configuration in configurations:
            observe(configuration.first[0], FIRST, generator.random())
        halving.judge(configurations, rules)
        first = verdicts(configurations)
        halving.judge(configurations, rules)
        assert verdicts(configurations) == first


# Verdicts on whatever is known


AT_ONCE = dataclasses.replace(RULES, reproducible=False)


def test_other_verdicts_wait_for_nobody_and_know_all_that_are_there() -> None:
    first, second, third = configurations = new_configurations(3)
    observe(third.first[0], FIRST, 0.5)
    halving.judge(configurations, AT_ONCE)
    assert verdicts(configurations) == [(0, None), (0, None), (1, None)]
    observe(first.first[0], FIRST, 0.4)
    halving.judge(configurations, AT_ONCE)
    assert verdicts(configurations) == [(0, FIRST), (0, None), (1, None)]
    observe(second.first[0], FIRST, 0.6)
    halving.judge(configurations, AT_ONCE)
    assert verdicts(configurations) == [(0, FIRST), (1, None), (1, None)]


def test_other_verdicts_stand() -> None:
    """What trained beyond a rung passed it, though a later command finds better ones there."""
    before, after = configurations = new_configurations(2)
    for rung in (FIRST, SECOND):
        observe(before.first[0], rung, 0.9)
        observe(after.first[0], rung, 0.1)
    halving.judge(configurations, AT_ONCE)
    assert verdicts(configurations) == [(2, None), (1, SECOND)]


def test_seeds_that_are_ahead_do_not_pass_a_rung_for_the_others() -> None:
    before, after = configurations = new_configurations(2, seeds=2)
    for run in before.first:
        observe(run, FIRST, 0.9)
    observe(after.first[0], FIRST, 0.1)
    observe(after.first[0], SECOND, 0.1)
    observe(after.first[1], FIRST, 0.1)
    halving.judge(configurations, AT_ONCE)
    assert verdicts(configurations) == [(1, None), (0, FIRST)]
