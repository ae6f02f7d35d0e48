"""The simulation of many trials tells the truth: what the driver has logged is what its trials have done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RAY_COSTS = ("--ray-costs", "0.0004", "0.004", "1e-6")  # as measured once; measuring takes seconds


def simulate(folder: Path, *flags: str) -> dict[str, Any]:
    """Run the benchmark; the point that it has written."""
    output = folder / "scaling.json"
    command = [sys.executable, BENCHMARKS / "scaling.py", "--folder", folder, "--output", output, *RAY_COSTS, *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [point] = json.loads(output.read_text())["points"]
    return point


def test_mlflow_has_what_was_simulated(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row of each member once, though processes die and members fail."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from simulation.trials import EVALUATION, LOSSES, Load, failing_row, simulated_row

    shutil.copy(empty_database, tmp_path / "mlflow.db")
    flags = ("--trials", "8", "--rows", "6", "--evaluate-every", "2", "--preempted", "0.1", "--failed", "0.2")
    point = simulate(tmp_path, *flags, "--mlflow", "sqlite", "--members-per-trial", "2")
    assert point["mlflow_has_everything"]
    assert point["preempted"] > 0
    load = Load(trials=8, rows=6, row_seconds=5.0, evaluate_every=2, preempted=0.1, failed=0.2, seed=0)

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("scaling")
    assert experiment is not None
    runs = {run.data.tags.get("larvae.member", "study"): run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 1 + point["members"] == 21
    statuses = set()
    for name in runs.keys() - {"study"}:
        failing = failing_row(name, load)
        assert runs[name].info.status == ("FAILED" if failing else "FINISHED")
        statuses.add(runs[name].info.status)
        rows = [simulated_row(name, number, load) for number in range(1, (failing or load.rows) + 1)]
        for metric in (*LOSSES, *EVALUATION):
            expected = [(row["iteration"], row[metric]) for row in rows if metric in row]
            history = client.get_metric_history(runs[name].info.run_id, metric) if expected else []
            assert sorted((point.step, point.value) for point in history) == expected
    assert statuses == {"FAILED", "FINISHED"}


def test_many_trials_lose_nothing_either(tmp_path: Path) -> None:
    """So many that Tune is given events in batches."""
    flags = ("--trials", "120", "--waves", "1.5", "--rows", "4", "--evaluate-every", "2", "--preempted", "0.02")
    point = simulate(tmp_path, *flags, "--failed", "0")
    assert point["mlflow_has_everything"]
    assert not point["interrupted"]
    assert point["preempted"] > 0
    points_of_a_row, points_of_an_evaluation = 9, 11
    assert point["members"] == 180
    assert point["points"] == 180 * (4 * points_of_a_row + 2 * points_of_an_evaluation)
    assert 0 < point["busy_share"] <= 1
    assert 0 <= point["trial_waiting_share"] < 1
