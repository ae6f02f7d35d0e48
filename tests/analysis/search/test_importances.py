"""A search as an Optuna study: importances and the journal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sweeps.analysis.search import importances as module
from sweeps.analysis.search.importances import FANOVA, PED_ANOVA, Importances, importances, journal
from sweeps.analysis.search.load_search import SearchRecord
from sweeps.analysis.search.ranking import pareto_front, summarise
from tests.analysis.search.invented_search import (
    ITERATIONS,
    InventedSearch,
    Run,
    describe,
    realistic,
    record,
    run_of,
    small,
)

PARTS = ("tau=0.1:10:log", "gamma_tc=1:20:log")


def decided_by_tau(configurations: int = 24) -> list[Run]:
    """Configurations whose held-out MIG and ℓ2 depend on τ alone, MIG = 0.7 − ℓ2."""
    rng = np.random.default_rng(0)
    runs = []
    for number, (tau, gamma_tc) in enumerate(rng.uniform(0, 1, (configurations, 2)).tolist()):
        point = {"tau": 0.1 * 100**tau, "gamma_tc": 20**gamma_tc}
        mig = 0.1 + 0.2 * tau
        runs.append(run_of(number, point, 0, (mig, 0.7 - mig), parts=PARTS))
    return runs


def absurd(first: int) -> list[Run]:
    """Configurations that were stopped or failed, with results that would turn all around."""
    ends = [{"status": "KILLED", "stopped_at": 300}] * 3 + [{"status": "FAILED"}] * 3
    points = [{"tau": 0.1 * 1.5**n, "gamma_tc": 2.0 + n} for n in range(6)]
    return [run_of(first + n, points[n], 0, (0.9 * (n % 2), 0.1), parts=PARTS, **ends[n]) for n in range(6)]


def ask(*runs: Run, **changed: Any) -> Importances:
    return importances(summarise(record(InventedSearch(describe(PARTS, **changed), list(runs)))))


def test_the_parameter_that_decides_is_important_in_each_objective_and_stopped_ones_have_no_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PARTS", 2)  # in place of eight forests
    found = ask(*decided_by_tau(), *absurd(24), objectives=("mig", "l2"))
    assert (found.num_configurations, found.num_best) == (24, 5)
    shares: dict[tuple[str, str], list[float]] = {}
    for one in found.importances:
        assert one.low <= one.high
        shares.setdefault((one.method, one.objective), []).append(one.share)
    assert shares.keys() == {(method, objective) for method in (FANOVA, PED_ANOVA) for objective in ("mig", "l2")}
    for tau, gamma_tc in shares.values():
        assert tau > 0.85
        assert tau + gamma_tc == pytest.approx(1)
    assert shares[PED_ANOVA, "mig"] == pytest.approx(shares[PED_ANOVA, "l2"])


def test_of_few_configurations_no_range_is_claimed_and_of_one_or_equal_values_nothing() -> None:
    runs = decided_by_tau(5)
    found = ask(*runs, *absurd(5))
    assert found.importances
    assert all(math.isnan(one.low) and math.isnan(one.high) for one in found.importances)
    assert [one[:4] for one in found.importances] == [one[:4] for one in ask(*runs).importances]
    assert ask(runs[0]) == Importances(1, 0, ())
    assert ask(runs[0], runs[1]._replace(curve=runs[0].curve)).importances == ()


def opened(known: SearchRecord, folder: Path) -> optuna.Study:
    """The study of a search's journal, read as Optuna reads it."""
    path = folder / "journal.log"
    path.write_bytes(journal(known, summarise(known)))
    storage = JournalStorage(JournalFileBackend(str(path)))
    [summary] = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def test_the_journal_has_a_trial_a_configuration_with_its_curve(tmp_path: Path) -> None:
    known = record(small())
    study = opened(known, tmp_path)
    states = [TrialState.COMPLETE] * 3 + [TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    assert study.study_name == "search-quick"
    assert [trial.state for trial in study.trials] == states
    assert study.best_trial.number == 1
    for trial, configuration in zip(study.trials, summarise(known).configurations, strict=True):
        assert trial.params == configuration.point
        assert {name: trial.user_attrs[name] for name in configuration.fields} == configuration.fields
        assert trial.user_attrs["status"] == configuration.status
        assert trial.user_attrs["seeds"] == configuration.num_seeds
    assert study.trials[1].values == pytest.approx([0.27])
    assert study.trials[0].user_attrs["held_out_mig_std"] == pytest.approx(0.1 / math.sqrt(2))
    curve = study.trials[0].intermediate_values  # of the first seeds
    assert list(curve) == list(range(100, ITERATIONS + 1, 100))
    assert curve[ITERATIONS] == pytest.approx(0.3)
    assert list(study.trials[3].intermediate_values) == [100] == [study.trials[3].user_attrs["stopped_at"]]


def test_a_journal_of_two_objectives_has_their_front(tmp_path: Path) -> None:
    known = record(realistic(("mig", "l2"), 20))
    study = opened(known, tmp_path)
    assert study.metric_names == ["held_out_mig", "held_out_l2"]
    assert sorted(trial.number for trial in study.best_trials) == sorted(
        c.number for c in pareto_front(summarise(known))
    )
