"""Seeds a round at a time until a claim is decided: rounds, levels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from larvae.command_line import INTERRUPTED
from larvae.errors import InvalidInputError
from larvae.files import load_json, save_json
from sweeps import grid, runner, tau_sweep, until_decided
from sweeps.options import StudyOptions
from sweeps.study import Study, StudyDirectory
from sweeps.until_decided import ALPHA, looks


@pytest.mark.parametrize(("most", "a_round", "expected"), [(3, 1, [3]), (6, 1, [3, 4, 5, 6]), (10, 3, [3, 6, 9, 10])])
def test_looks_come_to_the_most_seeds_and_spend_all_that_a_verdict_may_err(
    most: int, a_round: int, expected: list[int]
) -> None:
    found = list(looks(most, a_round))
    assert [look.seeds for look in found] == expected
    assert sum(look.level for look in found) == pytest.approx(ALPHA)


def ending_with(gain_of_seed: dict[int, float], ran: list[int], others: dict[int, float] | None = None) -> object:
    """A way to run a study that writes results of these gains of τ = 1 in MIG and ℓ2 at once.

    others: those where α is not 1, whose members otherwise fail.
    """

    def run_study(study: Study, options: StudyOptions) -> int:
        ran.append(len({member.seed for member in study.members}))
        directory = StudyDirectory((options.where.storage_path / study.name).absolute())
        directory.write_record(study, {})
        for member in directory.unfinished(study):
            gains = gain_of_seed if member.alpha == 1 else others
            if gains is None:
                directory.member(member).write_failure(member, ValueError("no loss"), [])
                continue
            gain = member.tau * gains[member.seed]
            rows = [{"iteration": study.schedule.iterations, "loss": 1.0, "mig": 0.2 + gain, "l2": 0.8 - gain}]
            directory.member(member).write_result(member, "finished", rows)
        directory.write_finished()
        return 0

    return run_study


def command(folder: Path, *words: str) -> int:
    given = "--preset quick --study rounds --taus 0 1 --batch-size 4 --final-metrics mig l2 --until-decided outperforms"
    return tau_sweep.run([*given.split(), "--storage-path", str(folder), *words])


def test_rounds_end_once_it_is_decided_and_the_same_command_runs_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[int] = []
    gains = {0: 0.05, 1: 0.18, 2: 0.2, 3: 0.19, 4: 0.2, 5: 0.19, 6: 0.2}
    monkeypatch.setattr(runner, "run_study", ending_with(gains, ran))
    assert command(tmp_path, "--seeds", "7") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert 3 < ran[-1] < 7
    assert ran == list(range(3, ran[-1] + 1))
    assert "outperforms after 3 seeds, tested at 0.021: not decidable here: about" in printed
    assert f"outperforms after {ran[-1]} seeds, tested at 0.0071: holds; " in printed
    assert f"Decided with {ran[-1]} of at most 7 seeds: {1 - ran[-1] / 7:.0%} of members spared" in printed
    number = len(ran)
    assert command(tmp_path, "--seeds", "7") == 0
    assert len(ran) == number
    record = tmp_path / "rounds/study.json"
    save_json(record, load_json(record) | {"finished": False})  # as if MLflow had missed something
    assert command(tmp_path, "--seeds", "7") == 0
    assert ran[number:] == ran[number - 1 : number]


def test_rounds_end_with_the_most_seeds_and_a_failed_round_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[int] = []
    monkeypatch.setattr(runner, "run_study", ending_with(dict(enumerate((-0.1, 0.1, -0.2, 0.2, 0.0))), ran))
    assert command(tmp_path / "all", "--seeds", "5", "--seeds-a-round", "2") == 0
    assert ran == [3, 5]
    assert "Not decided with 5 seeds" in capsys.readouterr().out
    monkeypatch.setattr(runner, "run_study", lambda study, options: 130)
    assert command(tmp_path / "none", "--seeds", "5") == 130


def test_cases_are_decided_each_at_its_own_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is decided stays so, though later seeds blur it; the other case is decided by the last look."""
    ran: list[int] = []
    first = {0: 0.2, 1: 0.21, 2: 0.2, 3: -2.0, 4: 2.0, 5: -2.0, 6: 2.0}
    second = {0: 0.0, 1: 0.3, 2: 0.18, 3: 0.2, 4: 0.19, 5: 0.2, 6: 0.19}
    monkeypatch.setattr(runner, "run_study", ending_with(first, ran, second))
    assert command(tmp_path, "--seeds", "7", "--grid", "alpha=1,64") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"outperforms after {ran[-1]} seeds, tested at 0.0071: α = 1; holds, by 3 seeds; " in printed
    assert ran[-1] > 3
    assert f"Decided with {ran[-1]} of at most 7 seeds" in printed


def test_a_case_whose_members_all_fail_is_not_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[int] = []
    monkeypatch.setattr(runner, "run_study", ending_with({0: 0.2, 1: 0.21, 2: 0.2, 3: 0.2}, ran))
    assert command(tmp_path, "--seeds", "4", "--grid", "alpha=1,64") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert ran == [3, 4]
    assert "α = 64; not decidable here: no results for it" in printed
    assert "Not decided with 4 seeds" in printed


def test_later_rounds_wait_for_what_the_first_one_had_and_a_stop_between_rounds_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[int] = []
    run_study = ending_with(dict(enumerate((-0.1, 0.1, -0.2, 0.2, 0.0))), ran)
    away = ["`tracking_uri` must be a running MLflow server, got x: no answer"] * 2

    def sometimes(study: Study, options: StudyOptions) -> int:
        if ran and away:
            raise InvalidInputError(away.pop())
        return run_study(study, options)  # type: ignore[operator,no-any-return]

    slept: list[float] = []
    monkeypatch.setattr(until_decided.time, "sleep", slept.append)
    monkeypatch.setattr(runner, "run_study", sometimes)
    assert command(tmp_path / "all", "--seeds", "4") == 0
    assert (ran, len(slept)) == ([3, 4], 2)
    assert "no answer; the next seeds begin as soon as that is so" in capsys.readouterr().out
    away.append("at first it is refused")
    ran.append(0)
    with pytest.raises(InvalidInputError, match="at first"):
        command(tmp_path / "first", "--seeds", "4")
    del ran[:]
    monkeypatch.setattr(until_decided, "is_asked", lambda: True)
    assert command(tmp_path / "stopped", "--seeds", "4") == INTERRUPTED
    assert ran == [3]


def test_rounds_that_have_ended_are_not_looked_at_as_if_they_were_of_another_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "run_study", ending_with({0: 0.1, 1: 0.1, 2: 0.11}, []))
    assert command(tmp_path, "--seeds", "3") == 0
    for words, name in {"--iterations 250": "iterations", "--evaluation-size 500": "evaluation_size"}.items():
        with pytest.raises(grid.InvalidInputError, match=f"a study('s| keeps its) `?{name}"):
            command(tmp_path, "--seeds", "3", *words.split())


def test_what_cannot_be_decided_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, message in {
        "--until-decided z-improves": "must be a claim that this study can decide: z-improves takes several dim z",
        "--until-decided factor-vae-improves --final-metrics mig": "must be a claim that this study can decide",
        "--until-decided nothing": "`until_decided` must be one of outperforms, ",
        "--until-decided outperforms --seeds 2": "`seeds` must be at least 3 with --until-decided, got 2",
        "--until-decided outperforms --seeds-a-round 0": "`seeds_a_round` must be > 0, got 0",
    }.items():
        with pytest.raises(grid.InvalidInputError, match=message):
            tau_sweep.run(["--preset", "quick", *words.split()])
    assert list(tmp_path.iterdir()) == []
