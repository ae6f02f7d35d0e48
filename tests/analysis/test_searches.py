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
from tests.analysis.invented_search import InventedSearch, Run, describe, realistic, record, run_of, small

POINT = {"tau": 1.0, "z_dim": 5, "gamma_tc": 4.0}


def search_of(*runs: Run, **changed: Any) -> SearchResult:
    return summarise(record(InventedSearch(describe(**changed), list(runs))))


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


def test_configurations_have_the_status_that_the_search_gives_them(search: SearchResult) -> None:
    statuses = [configuration.status for configuration in search.configurations]
    assert statuses == ["finished", "finished", "finished", "stopped", "failed", "running"]
    assert search.counts == "6 configurations: 3 finished, 1 stopped, 1 failed, 1 running"
    assert [configuration.number for configuration in search.configurations] == list(range(6))


def test_a_configuration_is_its_mean_over_finished_seeds(search: SearchResult) -> None:
    first, second, *_ = search.configurations
    assert first.values == pytest.approx((0.25,))
    assert first.interval(0).std == pytest.approx(np.std([0.3, 0.2], ddof=1))
    assert (first.num_seeds, second.num_seeds) == (2, 3)
    assert second.fields == {"tau": 0.0, "z_dim": 2, "gamma_tc": 10.0}


def test_the_best_is_not_the_best_single_run(search: SearchResult) -> None:
    assert [configuration.number for configuration in ranked(search)] == [1, 0, 2]


def test_what_was_stopped_or_failed_is_never_best_however_good(search: SearchResult) -> None:
    others = [c for c in search.configurations if c.status in ("stopped", "running")]
    assert max(seed.values[0] for c in others for seed in c.seeds) > 0.1
    assert {c.number for c in ranked(search)}.isdisjoint({3, 4, 5})


def test_a_stopped_configuration_has_the_value_of_its_rung_though_it_trained_on() -> None:
    stopped = search_of(run_of(0, POINT, 0, (0.9, 0.1), status="KILLED", stopped_at=100, until=300))
    at_rung = search_of(run_of(0, POINT, 0, (0.9, 0.1), status="KILLED", stopped_at=100, until=100))
    assert stopped.configurations[0].values == at_rung.configurations[0].values == pytest.approx((0.02 + 0.88 / 9,))


def test_a_stopped_seed_stops_its_configuration_and_the_finished_one_beside_it_does_not_count() -> None:
    runs = [run_of(0, POINT, 0, (0.9, 0.1)), run_of(0, POINT, 1, (0.2, 0.5), status="KILLED", stopped_at=300)]
    [configuration] = search_of(*runs, first_seeds=2).configurations
    assert configuration.status == "stopped"
    assert not any(seed.has_finished for seed in configuration.seeds)
    at_rung = [0.02 + (end - 0.02) / 3 for end in (0.9, 0.2)]
    assert configuration.values == pytest.approx((np.mean(at_rung),))


def test_one_failed_seed_fails_a_configuration() -> None:
    runs = [run_of(0, POINT, 0, (0.3, 0.4)), run_of(0, POINT, 1, (0.9, 0.1), status="FAILED")]
    assert search_of(*runs).configurations[0].status == "failed"


@pytest.mark.parametrize(
    ("status", "first_seeds", "expected"),
    [("RUNNING", 1, "finished"), ("KILLED", 1, "finished"), ("RUNNING", 2, "running"), ("SCHEDULED", 2, "running")],
)
def test_a_seed_that_trains_adds_nothing_to_a_mean(status: str, first_seeds: int, expected: str) -> None:
    runs = [run_of(0, POINT, 0, (0.3, 0.4)), run_of(0, POINT, 1, (0.9, 0.1), status=status)]
    [configuration] = search_of(*runs, first_seeds=first_seeds).configurations
    assert configuration.status == expected
    assert configuration.values == pytest.approx((0.3,))


def test_what_finished_in_a_shorter_search_has_not_finished_in_this_one() -> None:
    [configuration] = search_of(run_of(0, POINT, 0, (0.3, 0.4)), iterations=1800).configurations
    assert (configuration.status, configuration.values) == ("running", ())


def test_what_was_stopped_once_and_then_trained_to_the_end_has_finished() -> None:
    [configuration] = search_of(run_of(0, POINT, 0, (0.3, 0.4), stopped_at=100, until=900)).configurations
    assert configuration.is_finished
    assert configuration.values == pytest.approx((0.3,))


def test_the_order_of_runs_changes_nothing(invented: InventedSearch, search: SearchResult) -> None:
    backwards = record(InventedSearch(invented.description, invented.runs[::-1]))
    assert summarise(backwards) == search


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_undominated_and_dominates_all_others(seed: int) -> None:
    search = scattered(seed)
    front = pareto_front(search)

    def is_dominated(values: tuple[float, ...]) -> bool:
        return any(c.values[0] >= values[0] and c.values[1] <= values[1] and c.values != values for c in front)

    assert 0 < len(front) < len(search.finished)
    for configuration in search.finished:
        assert is_dominated(configuration.values) == (configuration not in front)
    assert [c.values[0] for c in front] == sorted((c.values[0] for c in front), reverse=True)
    assert [c.values[1] for c in front] == sorted((c.values[1] for c in front), reverse=True)
    assert ranked(search)[: len(front)] == front
    assert sorted(c.number for c in ranked(search)) == list(range(25))


def test_each_objective_has_its_own_best() -> None:
    search = scattered(0)
    assert best_in(search, 0).values[0] == max(c.values[0] for c in search.finished)
    assert best_in(search, 1).values[1] == min(c.values[1] for c in search.finished)


def test_failures_are_named(invented: InventedSearch, search: SearchResult) -> None:
    assert failures(record(invented), search) == ["configuration 4 seed 0 (loss is nan)"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {"tau": [1]}}, "must have two values or more"),
        ({"objectives": ["sap"]}, "must be one of mig, l2, got sap"),
        ({"objectives": []}, "no objectives"),
        ({"iterations": None}, "must describe a search of this version, got search-quick: "),
    ],
)
def test_a_description_of_another_version_is_one_line(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as raised:
        search_of(run_of(0, POINT, 0, (0.3, 0.4)), **changed)
    assert "\n" not in str(raised.value)


def test_a_description_that_lacks_something_says_what() -> None:
    described = describe()
    del described["space"]
    with pytest.raises(InvalidInputError, match="'space' is missing"):
        summarise(record(InventedSearch(described, small().runs)))


def test_seeds_have_a_row_each_and_only_finished_ones_count(invented: InventedSearch, search: SearchResult) -> None:
    seeds = seeds_frame(record(invented), search)
    assert len(seeds) == len(invented.runs)
    assert seeds["hash"].is_unique
    assert set(seeds.loc[seeds["counts"], "configuration_status"]) == {"finished"}
    assert set(seeds.loc[seeds["counts"], "status"]) == {"FINISHED"}
    by_run = seeds.set_index("hash")
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
        assert pd.isna(row["rank"]) == (not configuration.is_finished)
        assert math.isnan(row["held_out_mig_mean"]) == (not configuration.is_finished)
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


def test_the_table_shows_the_best_first(invented: InventedSearch, search: SearchResult) -> None:
    table = best_table(configurations_frame(seeds_frame(record(invented), search), search), search, most=2)
    assert table.header[:5] == ["#", "τ", "dim z", "γ_tc", "seeds"]
    assert table.rows[0][:6] == ["1", "0", "2", "10", "3/3", "0.270 ± 0.010"]
    assert table.rows[1][:6] == ["0", "1", "5", "4", "2/3", "0.250 ± 0.071"]
    lines = table.text.splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("mean", "deviation", "shown"),
    [(0.3, 0.0126, "0.300 ± 0.013"), (0.3, math.nan, "0.300"), (math.nan, math.nan, "-")],
)
def test_a_mean_says_how_far_seeds_scatter(mean: float, deviation: float, shown: str) -> None:
    assert mean_and_deviation(mean, deviation) == shown
