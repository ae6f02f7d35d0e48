"""An adaptive search in numbers: what becomes of configurations, which are best, and the tables of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from larvae.errors import InvalidInputError
from sweeps.analysis.search.load_search import HELD_OUT
from sweeps.analysis.search.ranking import SearchResult, best_in, failures, pareto_front, ranked, summarise
from sweeps.analysis.search.tables import best_table, configurations_frame, mean_and_deviation, seeds_frame
from tests.analysis.search.invented_search import InventedSearch, Run, describe, realistic, record, run_of, small

POINT = {"tau": 1.0, "z_dim": 5, "gamma_tc": 4.0}
ENDS = ((0.3, 0.4), (0.9, 0.1))
AT_RUNG = [0.02 + (end - 0.02) / 9 for end in (0.3, 0.9)]
"""Held-out MIG of ENDS at iteration 100 of 900."""


def search_of(*runs: Run, **changed: Any) -> SearchResult:
    return summarise(record(InventedSearch(describe(**changed), list(runs))))


def member(seed: int = 0, **changed: Any) -> Run:
    return run_of(0, POINT, seed, ENDS[seed], **changed)


def scattered(seed: int, configurations: int = 25) -> SearchResult:
    """A search for MIG and ℓ2 with random results of one or two seeds."""
    rng = np.random.default_rng(seed)
    runs = [
        run_of(number, {"tau": 0.2 + number / 10, "z_dim": 5, "gamma_tc": 4.0}, member, tuple(rng.uniform(0, 1, 2)))
        for number in range(configurations)
        for member in range(1 + number % 2)
    ]
    return search_of(*runs, objectives=("mig", "l2"))


@pytest.fixture(scope="module")
def invented() -> InventedSearch:
    return small()


@pytest.fixture(scope="module")
def search(invented: InventedSearch) -> SearchResult:
    return summarise(record(invented))


def test_configurations_are_means_over_finished_seeds_and_others_are_never_best(
    invented: InventedSearch, search: SearchResult
) -> None:
    statuses = [configuration.status for configuration in search.configurations]
    assert statuses == ["finished", "finished", "finished", "stopped", "failed", "running"]
    assert search.counts == "6 configurations: 3 finished, 1 stopped, 1 failed, 1 running"
    first, second, *_ = search.configurations
    assert first.values == pytest.approx((0.25,))
    assert first.interval(0).std == pytest.approx(np.std([0.3, 0.2], ddof=1))
    assert (first.num_seeds, second.num_seeds) == (2, 3)
    assert second.fields == {"tau": 0.0, "z_dim": 2, "gamma_tc": 10.0}
    assert [configuration.number for configuration in ranked(search)] == [1, 0, 2]  # 0 has the best single run
    assert failures(record(invented), search) == ["configuration 4 seed 0 (loss is nan)"]
    assert summarise(record(InventedSearch(invented.description, invented.runs[::-1]))) == search


@pytest.mark.parametrize(
    ("runs", "changed", "status", "value"),
    [
        ([member(status="KILLED", stopped_at=100, until=300)], {}, "stopped", AT_RUNG[0]),  # trained on meanwhile
        ([member(0), member(1, status="KILLED", stopped_at=100)], {"first_seeds": 2}, "stopped", np.mean(AT_RUNG)),
        ([member(stopped_at=100, until=900)], {}, "finished", 0.3),  # stopped once, trained to the end later
        ([member(0), member(1, status="FAILED")], {}, "failed", 0.3),
        ([member(0), member(1, status="RUNNING")], {}, "finished", 0.3),
        ([member(0), member(1, status="KILLED")], {}, "finished", 0.3),
        ([member(0), member(1, status="SCHEDULED")], {"first_seeds": 2}, "running", 0.3),
        ([member()], {"iterations": 1800}, "running", None),  # finished in a shorter search
    ],
)
def test_what_becomes_of_a_configuration_and_which_seeds_count(
    runs: list[Run], changed: dict[str, Any], status: str, value: float | None
) -> None:
    [configuration] = search_of(*runs, **changed).configurations
    assert configuration.status == status
    assert configuration.values == (() if value is None else pytest.approx((value,)))
    if status == "stopped":
        assert not any(seed.has_finished for seed in configuration.seeds)


def test_the_front_is_undominated_and_dominates_all_others() -> None:
    for seed in range(5):
        search = scattered(seed)
        front = pareto_front(search)
        values = [c.values for c in front]

        def is_dominated(mig: float, l2: float, values: list[tuple[float, ...]] = values) -> bool:
            return any(one >= mig and other <= l2 and (one, other) != (mig, l2) for one, other in values)

        assert 0 < len(front) < len(search.finished)
        assert all(is_dominated(*c.values) == (c not in front) for c in search.finished)
        assert values == sorted(values, reverse=True)
        assert ranked(search)[: len(front)] == front
        assert sorted(c.number for c in ranked(search)) == list(range(25))
        assert best_in(search, 0).values[0] == max(c.values[0] for c in search.finished)
        assert best_in(search, 1).values[1] == min(c.values[1] for c in search.finished)


def test_a_description_of_another_version_is_one_line() -> None:
    for changed, message in (
        ({"space": {"tau": [1]}}, "must have two values or more"),
        ({"objectives": ["sap"]}, "must be one of mig, l2, got sap"),
        ({"objectives": []}, "no objectives"),
        ({"iterations": None}, "must describe a search of this version, got search-quick: "),
    ):
        with pytest.raises(InvalidInputError, match=message) as raised:
            search_of(member(), **changed)
        assert "\n" not in str(raised.value)
    described = {name: value for name, value in describe().items() if name != "space"}
    with pytest.raises(InvalidInputError, match="'space' is missing"):
        summarise(record(InventedSearch(described, small().runs)))


def test_seeds_have_a_row_each_and_only_finished_ones_count(invented: InventedSearch, search: SearchResult) -> None:
    seeds = seeds_frame(record(invented), search)
    assert len(seeds) == len(invented.runs)
    assert set(seeds.loc[seeds["counts"], "configuration_status"]) == {"finished"}
    assert set(seeds.loc[seeds["counts"], "status"]) == {"FINISHED"}
    by_run = seeds.set_index("hash", verify_integrity=True)
    for run in invented.runs:
        row = by_run.loc[run.config.content_hash]
        last = -1 if run.stopped_at is None else run.stopped_at // 100 - 1
        assert tuple(row[list(HELD_OUT)]) == run.curve[last]
        assert row["mig"] == run.final["mig"] if run.final else math.isnan(row["mig"])
        assert row["tau"] == run.config.tau
    [stopped] = seeds[seeds["configuration_status"] == "stopped"].to_dict("records")
    assert (stopped["evaluated_at"], stopped["stopped_at"], stopped["iterations"]) == (100, 100, 200)


def test_means_of_configurations_are_those_of_their_counting_seeds() -> None:
    invented = realistic(("mig", "l2"), 24)
    search = summarise(record(invented))
    seeds = seeds_frame(record(invented), search)
    frame = configurations_frame(seeds, search).set_index("configuration")
    assert len(frame) == 24
    for configuration in search.configurations:
        row = frame.loc[configuration.number]
        assert pd.isna(row["rank"]) == math.isnan(row["held_out_mig_mean"]) == (not configuration.is_finished)
        if configuration.is_finished:
            own = [run for run in invented.runs if run.configuration == configuration.number]
            assert row["num_seeds"] == len(own)
            assert row["held_out_l2_mean"] == pytest.approx(configuration.values[1])
            assert row["mig_mean"] == pytest.approx(np.mean([run.final["mig"] for run in own]))
    assert [c.number for c in ranked(search)] == list(frame["rank"].dropna().sort_values().index)
    assert set(frame.index[frame["on_front"]]) == {c.number for c in pareto_front(search)}


def test_metrics_of_the_whole_data_choose_nothing(invented: InventedSearch, search: SearchResult) -> None:
    known = record(invented)
    opposite = known._replace(members=known.members.assign(mig=1 - known.members["mig"]))
    assert summarise(opposite) == search
    frame = configurations_frame(seeds_frame(opposite, search), search)
    assert list(frame["configuration"][:3]) == [1, 0, 2]
    assert list(frame["mig_mean"][:3]) == sorted(frame["mig_mean"][:3])


def test_the_table_shows_the_best_first_and_how_far_seeds_scatter(
    invented: InventedSearch, search: SearchResult
) -> None:
    table = best_table(configurations_frame(seeds_frame(record(invented), search), search), search, most=2)
    assert table.header[:5] == ["#", "τ", "dim z", "γ_tc", "seeds"]
    assert table.rows[0][:6] == ["1", "0", "2", "10", "3/3", "0.270 ± 0.010"]
    assert table.rows[1][:6] == ["0", "1", "5", "4", "2/3", "0.250 ± 0.071"]
    lines = table.text.splitlines()
    assert (len(lines), len({len(line) for line in lines})) == (3, 1)
    shown = {(0.3, 0.0126): "0.300 ± 0.013", (0.3, math.nan): "0.300", (math.nan, math.nan): "-"}
    assert [mean_and_deviation(*numbers) for numbers in shown] == list(shown.values())
