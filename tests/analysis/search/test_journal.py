"""A search as a journal: read as optuna-dashboard reads it."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sweeps.analysis.search.journal import journal
from sweeps.analysis.search.load_search import SearchRecord
from sweeps.analysis.search.ranking import pareto_front, summarise
from tests.analysis.search.invented_search import (
    ITERATIONS,
    MS_PER_ITERATION,
    START,
    of_tau,
    realistic,
    record,
    small,
)


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
        assert trial.params == configuration.fields
        assert trial.user_attrs["status"] == configuration.status
        assert trial.user_attrs["seeds"] == configuration.num_seeds
    assert study.trials[1].values == pytest.approx([0.27])
    assert study.trials[0].user_attrs["held_out_mig_std"] == pytest.approx(0.1 / math.sqrt(2))
    curve = study.trials[0].intermediate_values  # of the first seeds
    assert list(curve) == list(range(100, ITERATIONS + 1, 100))
    assert curve[ITERATIONS] == pytest.approx(0.3)
    assert list(study.trials[3].intermediate_values) == [100] == [study.trials[3].user_attrs["stopped_at"]]


def test_a_zero_beside_a_range_is_zero_and_other_axes_are_the_samplers(tmp_path: Path) -> None:
    known = record(small())
    space = summarise(known).space
    trials = opened(known, tmp_path).trials
    assert [trial.params["tau"] for trial in trials] == [1.0, 0.0, 10.0, 5.0, 3.0, 0.3]
    for trial in trials:
        assert trial.distributions == space.distributions() | {"tau": FloatDistribution(0, 10)}


def test_trials_last_from_their_first_seeds_start_to_their_last_seeds_end(tmp_path: Path) -> None:
    minute, each = timedelta(minutes=1), timedelta(milliseconds=MS_PER_ITERATION)
    starts = [timedelta(0), 2 * minute, 6 * minute, minute, 7 * minute, 8 * minute]
    ends = [3 * minute + 900 * each, 6 * minute + 900 * each, 6 * minute + 900 * each, minute + 200 * each]
    trials = opened(record(small()), tmp_path).trials
    begin = datetime.fromtimestamp(START / 1000)
    assert [trial.datetime_start for trial in trials] == [begin + start for start in starts]
    assert [trial.datetime_complete for trial in trials[:4]] == [begin + end for end in ends]
    assert (trials[4].duration, trials[5].duration) == (400 * each, None)


def test_what_has_not_begun_waits_and_what_was_stopped_or_failed_without_a_value_is_told_so(tmp_path: Path) -> None:
    ends = [{"status": status, "until": 0} for status in ("SCHEDULED", "FAILED", "KILLED")]
    ends[2]["stopped_at"] = 100
    waiting, failed, stopped = opened(record(of_tau(*ends)), tmp_path).trials
    assert (waiting.state, waiting.datetime_start) == (TrialState.WAITING, None)
    assert (failed.state, failed.duration) == (TrialState.FAIL, timedelta(0))
    assert (stopped.state, stopped.intermediate_values) == (TrialState.PRUNED, {})


def test_a_journal_of_two_objectives_has_their_front(tmp_path: Path) -> None:
    known = record(realistic(("mig", "l2"), 20))
    study = opened(known, tmp_path)
    assert study.metric_names == ["held_out_mig", "held_out_l2"]
    assert sorted(trial.number for trial in study.best_trials) == sorted(
        c.number for c in pareto_front(summarise(known))
    )
