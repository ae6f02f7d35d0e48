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
AT_ONCE = dataclasses.replace(RULES, reproducible=False)
Table = Sequence[Sequence[Values]]
"""Values by configuration and rung."""
Verdicts = list[tuple[int, int | None]]


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


def verdicts(configurations: Iterable[Configuration]) -> Verdicts:
    return [(configuration.rungs_passed, configuration.stopped_at) for configuration in configurations]


def judge(configurations: list[Configuration], rules: Rules = RULES) -> Verdicts:
    """The verdicts, which stay as they are where nothing has happened since."""
    halving.judge(configurations, rules)
    first = verdicts(configurations)
    halving.judge(configurations, rules)
    assert verdicts(configurations) == first
    return first


def judged(table: Table, rules: Rules = RULES, order: random.Random | None = None) -> Verdicts:
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


def expected(table: Table, rules: Rules) -> Verdicts:
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


def test_rungs_ascend_below_the_end_in_multiples() -> None:
    generator = random.Random(0)
    for _ in range(1000):
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
    assert halving.rungs(100, 3, 901, 100) == (100, 300, 900)
    assert halving.rungs(100, 3, 900, 100) == (100, 300)
    assert halving.rungs(10, 2, 1000, 300) == (300, 600, 900)  # those that fall together are one


def test_verdicts_are_the_rules_in_whatever_order_news_comes() -> None:
    """And do not know later configurations; also where what is stopped trains on while the verdict is open."""
    generator = random.Random(0)
    for reduction in (2, 3, 4):
        rules = with_(reduction=reduction)
        for _ in range(40):
            table = random_table(generator, generator.randint(1, 12), rules)
            assert judged(table, rules, generator) == judged(table, rules) == expected(table, rules)
            count = generator.randint(0, len(table))
            assert judged(table[:count], rules) == expected(table, rules)[:count]
            configurations = new_configurations(len(table))
            for configuration, values in zip(configurations, table, strict=True):
                for rung, value in zip(rules.rungs, values, strict=True):
                    observe(configuration.first[0], rung, *value)
            assert judge(configurations, rules) == expected(table, rules)


def test_two_objectives_are_the_same_in_whatever_order_and_only_what_is_better_in_both_counts() -> None:
    """Of three: another end of the front is not stopped, one inside is."""
    rules, generator = with_(objectives=("mig", "l2")), random.Random(0)
    for _ in range(40):
        table = random_table(generator, 10, rules)
        assert judged(table, rules, generator) == judged(table, rules)
    rules = with_(objectives=("mig", "l2"), rungs=(10,))
    front = [[(0.1, 0.1)], [(0.9, 0.9)], [(0.5, 0.5)]]
    assert judged([*front, [(0.05, 0.95)]], rules) == [(1, None)] * 3 + [(0, 10)]
    assert judged([*front, [(0.5, 0.45)]], rules) == [(1, None)] * 4


def test_verdicts_depend_on_ranks_alone_and_l2_is_better_where_it_is_lower() -> None:
    generator = random.Random(3)
    for _ in range(20):
        table = random_table(generator, 20, RULES)
        stretched = [[(math.exp(5 * value) - 100,) for (value,) in values] for values in table]
        negated = [[(-value,) for (value,) in values] for values in table]
        assert judged(stretched) == judged(table) == judged(negated, with_(objectives=("l2",)))
        assert judged(negated) != judged(table)
    rising = [[(float(number),)] * 2 for number in range(12)]
    assert judged(rising) == judged([[(0.5,)] * 2] * 12) == [(2, None)] * 12  # equals are not better
    assert judged(rising[::-1]) == [(2, None)] + [(0, FIRST)] * 11


# What a verdict waits for


def test_a_verdict_waits_for_those_before_and_for_the_mean_of_all_first_seeds() -> None:
    """By which the second is the better one, though its first seed is the worse; added seeds have no part in it."""
    before, after = configurations = new_configurations(2, seeds=2)
    observe(after.first[0], FIRST, 0.1)
    assert judge(configurations) == [(0, None), (0, None)]
    for run in before.first:
        observe(run, FIRST, 0.5)
    before.more.append(Run(MemberConfig(seed=2)))
    observe(before.more[0], FIRST, 0.9)
    assert judge(configurations) == [(1, None), (0, None)]
    observe(after.first[1], FIRST, 1.0)
    assert judge(configurations) == [(1, None), (1, None)]


@pytest.mark.parametrize("status", ["failed", "finished"])
def test_a_verdict_does_not_wait_for_what_has_ended_without_a_value(status: str) -> None:
    """A member that was evaluated elsewhere has none at a rung either; one that failed behind a rung counts there."""
    before, after = configurations = new_configurations(2)
    for rung in RULES.rungs:
        observe(after.first[0], rung, 0.5)
    before.first[0].status = status
    assert judge(configurations) == [(0, None), (2, None)]
    before, after = configurations = new_configurations(2)
    observe(before.first[0], FIRST, 0.9)
    before.first[0].status = status
    observe(after.first[0], FIRST, 0.5)
    assert judge(configurations) == [(1, None), (0, FIRST)]


def test_a_failed_seed_does_not_hide_what_the_other_has_yet_to_reach() -> None:
    """One seed failed behind the second rung, the other is on its way there: their mean there will count."""
    before, after = configurations = new_configurations(2, seeds=2)
    for run in (*before.first, *after.first):
        observe(run, FIRST, 0.5)
    observe(before.first[0], SECOND, 0.9)
    before.first[0].status = "failed"
    for run in after.first:
        observe(run, SECOND, 0.5)
    assert judge(configurations) == [(1, None), (1, None)]
    observe(before.first[1], SECOND, 0.9)
    assert judge(configurations) == [(2, None), (1, SECOND)]


def test_verdicts_that_are_not_reproducible_wait_for_nobody_and_stand() -> None:
    """They know all that are there; what trained beyond a rung passed it, though better ones are found there later."""
    first, second, third = configurations = new_configurations(3)
    observe(third.first[0], FIRST, 0.5)
    assert judge(configurations, AT_ONCE) == [(0, None), (0, None), (1, None)]
    observe(first.first[0], FIRST, 0.4)
    assert judge(configurations, AT_ONCE) == [(0, FIRST), (0, None), (1, None)]
    observe(second.first[0], FIRST, 0.6)
    assert judge(configurations, AT_ONCE) == [(0, FIRST), (1, None), (1, None)]
    before, after = configurations = new_configurations(2)
    for rung in (FIRST, SECOND):
        observe(before.first[0], rung, 0.9)
        observe(after.first[0], rung, 0.1)
    assert judge(configurations, AT_ONCE) == [(2, None), (1, SECOND)]
    before, after = configurations = new_configurations(2, seeds=2)  # a seed that is ahead passes for itself alone
    for run, rung, value in ((0, FIRST, 0.1), (0, SECOND, 0.1), (1, FIRST, 0.1)):
        observe(before.first[run], FIRST, 0.9)
        observe(after.first[run], rung, value)
    assert judge(configurations, AT_ONCE) == [(1, None), (0, FIRST)]
