"""Importances of a search's parameters, and how sure they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from optuna.importance import FanovaImportanceEvaluator

from sweeps.analysis.search import importances as module
from sweeps.analysis.search.importances import FANOVA, FEWEST, PED_ANOVA, Importance, importances
from sweeps.analysis.search.ranking import summarise
from tests.analysis.search.invented_search import InventedSearch, Run, describe, record, run_of

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


def ask(*runs: Run, **changed: Any) -> list[Importance]:
    return importances(summarise(record(InventedSearch(describe(PARTS, **changed), list(runs)))))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PARTS", 2)  # in place of eight forests


@pytest.mark.usefixtures("_quick")
def test_the_parameter_that_decides_is_important_in_each_objective_and_stopped_ones_have_no_say() -> None:
    shares: dict[tuple[str, str], list[float]] = {}
    for one in ask(*decided_by_tau(), *absurd(24), objectives=("mig", "l2")):
        assert 0 <= one.low <= one.share <= one.high <= 1
        shares.setdefault((one.method, one.objective), []).append(one.share)
    assert shares.keys() == {(method, objective) for method in (FANOVA, PED_ANOVA) for objective in ("mig", "l2")}
    for tau, gamma_tc in shares.values():
        assert tau > 0.85
        assert tau + gamma_tc == pytest.approx(1)
    assert shares[PED_ANOVA, "mig"] == pytest.approx(shares[PED_ANOVA, "l2"])


def test_intervals_are_those_of_the_delete_a_group_jackknife(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.5, 0.44, 0.46, 0.5, 0.5, 0.5, 0.5, 0.54, 0.56])  # of all, then without each eighth

    def share(*of: Any) -> dict[str, float]:
        return {"tau": (tau := next(shares)), "gamma_tc": 1 - tau}

    monkeypatch.setattr(module, "_shares", share)
    search = summarise(record(InventedSearch(describe(PARTS), decided_by_tau())))
    tau, gamma_tc = module._of_method(search, 0, FANOVA, FanovaImportanceEvaluator())
    error = math.sqrt(7 / 8 * 2 * (0.06**2 + 0.04**2))
    assert (tau.low, tau.high) == pytest.approx((0.5 - 2.364624 * error, 0.5 + 2.364624 * error))
    assert (gamma_tc.low, gamma_tc.high) == pytest.approx((tau.low, tau.high))


@pytest.mark.usefixtures("_quick")
def test_of_too_few_configurations_or_equal_values_nothing_is_claimed() -> None:
    runs = decided_by_tau(FEWEST)
    assert ask(*runs[1:], *absurd(FEWEST)) == []
    assert all(one.low < one.share for one in ask(*runs))
    assert ask(*(run._replace(curve=runs[0].curve) for run in runs)) == []
    assert ask(runs[0], *(run._replace(curve=runs[1].curve) for run in runs[1:])) == []  # equal without the first
