"""A search against its budget: what was known and spent by then."""

from __future__ import annotations

import numpy as np
import pytest

from sweeps.analysis.search.history import History, history
from sweeps.analysis.search.ranking import ranked, summarise
from tests.analysis.search.invented_search import (
    ITERATIONS,
    MS_PER_ITERATION,
    START,
    InventedSearch,
    describe,
    realistic,
    record,
    run_of,
    small,
)

POINTS = [{"tau": tau, "z_dim": 5, "gamma_tc": 4.0} for tau in (0.5, 1.0, 2.0)]
LATER = START + MS_PER_ITERATION * ITERATIONS


def follow(invented: InventedSearch, objective: int = 0) -> History:
    known = record(invented)
    return history(known, summarise(known), objective)


def test_the_budget_is_what_all_members_have_trained_by_then_whatever_became_of_them() -> None:
    for second_start, budgets in ((LATER, [900, 1800]), (START, [1800, 1800])):
        runs = [run_of(0, POINTS[0], 0, (0.2, 0.5)), run_of(1, POINTS[1], 0, (0.3, 0.5), second_start)]
        assert [end.budget for end in follow(InventedSearch(describe(), runs)).ends] == budgets
    invented = small()
    followed = follow(invented)
    assert followed.budget == sum(run.iterations for run in invented.runs)
    assert all(end.budget <= followed.budget for end in followed.ends)


def test_ends_are_of_finished_seeds_and_of_stopped_configurations_at_their_rung() -> None:
    followed = follow(small())
    assert sorted(end.configuration for end in followed.ends if end.status == "finished") == [0, 0, 1, 1, 1, 2]
    assert [end.configuration for end in followed.ends if end.status == "stopped"] == [3]
    runs = [run_of(0, POINTS[0], 0, (0.9, 0.5), status="KILLED", stopped_at=100, until=500)]
    [end] = follow(InventedSearch(describe(), runs)).ends
    assert (end.budget, end.value) == (100, pytest.approx(0.02 + 0.88 / 9))


def test_the_best_mean_falls_when_a_seed_lowers_it_and_ends_as_the_best_of_the_report() -> None:
    best = [(b.configuration, b.num_seeds, round(b.value, 6)) for b in follow(small()).best]
    assert best == [(0, 1, 0.3), (0, 1, 0.3), (1, 1, 0.28), (1, 2, 0.27), (1, 3, 0.27)]
    invented = realistic()
    [first, *_] = ranked(summarise(record(invented)))
    course = follow(invented).best
    last = (first.number, first.num_seeds, pytest.approx(first.values[0]))
    assert (course[-1].configuration, course[-1].num_seeds, course[-1].value) == last
    assert np.all(np.diff([b.budget for b in course]) > 0)


def test_a_configuration_is_best_only_once_it_has_its_first_seeds_and_lower_is_better_where_it_is() -> None:
    runs = [
        run_of(0, POINTS[0], 0, (0.9, 0.5)),
        run_of(1, POINTS[1], 0, (0.3, 0.5), LATER),
        run_of(1, POINTS[1], 1, (0.3, 0.5), LATER),
        run_of(0, POINTS[0], 1, (0.8, 0.5), LATER + MS_PER_ITERATION * ITERATIONS),
    ]
    best = follow(InventedSearch(describe(first_seeds=2), runs)).best
    assert [(b.configuration, b.budget) for b in best] == [(1, 2700), (0, 3600)]
    runs = [run_of(n, POINTS[n], 0, (0.1, l2), START + n * 100_000) for n, l2 in enumerate((0.5, 0.4, 0.6))]
    best = follow(InventedSearch(describe(objectives=("mig", "l2")), runs), 1).best
    assert [b.value for b in best] == pytest.approx([0.5, 0.4, 0.4])
