"""A search as an Optuna study: importances and the journal."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sweeps.analysis.search.importances import FANOVA, PED_ANOVA, Importances, importances, journal
from sweeps.analysis.search.ranking import pareto_front, ranked, summarise
from tests.analysis.invented_search import ITERATIONS, InventedSearch, Run, describe, realistic, record, run_of, small

PARTS = ("tau=0.1:10:log", "gamma_tc=1:20:log")
DASHBOARD = Path(sys.executable).parent / "optuna-dashboard"


def decided_by_tau(configurations: int = 24, **changed: Any) -> list[Run]:
    """Configurations whose held-out MIG and ℓ2 depend on τ alone, MIG = 0.7 − ℓ2."""
    rng = np.random.default_rng(0)
    runs = []
    for number, (tau, gamma_tc) in enumerate(rng.uniform(0, 1, (configurations, 2)).tolist()):
        point = {"tau": 0.1 * 100**tau, "gamma_tc": 20**gamma_tc}
        mig = 0.1 + 0.2 * tau
        runs.append(run_of(number, point, 0, (mig, 0.7 - mig), parts=PARTS, **changed))
    return runs


def ask(*runs: Run, **changed: Any) -> Importances:
    return importances(summarise(record(InventedSearch(describe(PARTS, **changed), list(runs)))))


@pytest.mark.parametrize("method", [FANOVA, PED_ANOVA])
def test_the_parameter_that_decides_is_important(method: str) -> None:
    found = ask(*decided_by_tau())
    shares = {one.parameter: one.share for one in found.importances if one.method == method}
    assert shares["tau"] > 0.85
    assert sum(shares.values()) == pytest.approx(1)
    assert (found.num_configurations, found.num_best) == (24, 5)
    assert all(one.low <= one.high for one in found.importances)


def test_stopped_and_failed_configurations_have_no_say() -> None:
    runs = decided_by_tau()
    absurd = [
        run_of(24 + n, {"tau": 0.1 * 1.5**n, "gamma_tc": 2.0 + n}, 0, (0.9 * (n % 2), 0.1), parts=PARTS, **end)
        for n in range(6)
        for end in ({"status": "KILLED", "stopped_at": 300} if n < 3 else {"status": "FAILED"},)
    ]
    assert ask(*runs, *absurd) == ask(*runs)


def test_a_mirrored_objective_has_the_same_importances() -> None:
    found = ask(*decided_by_tau(), objectives=("mig", "l2"))
    shares = {
        objective: [one.share for one in found.importances if (one.objective, one.method) == (objective, PED_ANOVA)]
        for objective in ("mig", "l2")
    }
    assert shares["mig"] == pytest.approx(shares["l2"])


def test_of_one_configuration_or_of_equal_values_there_are_no_importances() -> None:
    runs = decided_by_tau(2)
    assert ask(runs[0]) == Importances(1, 0, ())
    assert ask(runs[0], runs[1]._replace(curve=runs[0].curve)).importances == ()


def test_of_few_configurations_no_range_is_claimed() -> None:
    found = ask(*decided_by_tau(5)).importances
    assert found
    assert all(math.isnan(one.low) and math.isnan(one.high) for one in found)


def opened(content: bytes, folder: Path) -> optuna.Study:
    """The study of a journal, read as Optuna reads it."""
    path = folder / "journal.log"
    path.write_bytes(content)
    storage = JournalStorage(JournalFileBackend(str(path)))
    [summary] = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def test_the_journal_has_a_trial_a_configuration(tmp_path: Path) -> None:
    known = record(small())
    study = opened(journal(known, summarise(known)), tmp_path)
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


def test_learning_curves_are_of_the_first_seeds_and_end_at_the_rung(tmp_path: Path) -> None:
    known = record(small())
    study = opened(journal(known, summarise(known)), tmp_path)
    curve = study.trials[0].intermediate_values
    assert list(curve) == list(range(100, ITERATIONS + 1, 100))
    assert curve[ITERATIONS] == pytest.approx(0.3)
    assert list(study.trials[3].intermediate_values) == [100]
    assert study.trials[3].user_attrs["stopped_at"] == 100


def test_a_journal_of_two_objectives_has_their_front(tmp_path: Path) -> None:
    known = record(realistic(("mig", "l2"), 20))
    search = summarise(known)
    study = opened(journal(known, search), tmp_path)
    assert study.metric_names == ["held_out_mig", "held_out_l2"]
    assert sorted(trial.number for trial in study.best_trials) == sorted(c.number for c in pareto_front(search))


def test_optuna_asks_the_journal_for_the_same_best(tmp_path: Path) -> None:
    known = record(realistic(configurations=20))
    search = summarise(known)
    assert opened(journal(known, search), tmp_path).best_trial.number == ranked(search)[0].number


@pytest.mark.skipif(not DASHBOARD.exists(), reason="optuna-dashboard is not installed")
def test_optuna_dashboard_opens_the_journal(tmp_path: Path) -> None:
    known = record(small())
    path = tmp_path / "search_journal.log"
    path.write_bytes(journal(known, summarise(known)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(DASHBOARD), str(path), "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}/api/studies"
            [study] = _answer(address)["study_summaries"]
            trials = _answer(f"{address}/{study['study_id']}?after=0")["trials"]
        finally:
            server.terminate()
    assert study["study_name"] == "search-quick"
    assert [trial["state"] for trial in trials] == ["Complete"] * 3 + ["Pruned", "Fail", "Running"]


def _answer(address: str) -> Any:
    """What a server says, as soon as it is there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(120):
        try:
            with opener.open(address, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"no answer from {address}")
