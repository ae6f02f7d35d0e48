"""A search over trials as Ray Tune sees it, without Ray: members on disk are told, losers stopped, lost ones moved."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from larvae.config import MemberConfig, Schedule
from larvae.together.group import likeness
from sweeps.adaptive.configurations import means
from sweeps.adaptive.search_reporter import SearchReporter
from sweeps.adaptive.space import parse_space
from sweeps.adaptive.suggesting import Suggester
from sweeps.driver.evaluating import Evaluations
from sweeps.resources.places import WITHOUT_GPU, Place
from sweeps.study import Study, StudyDirectory
from sweeps.trial.mailbox import Mailbox
from tests.sweeps.adaptive.simulation import Disk, new_search, row_of, with_

RULES = with_(configurations=12, parallel=3, seeds=2)
QUIET: Any = SimpleNamespace(welcome=lambda *_: None, expect=lambda _: None, follow=lambda _: None)


def no_reporter() -> Any:
    return SimpleNamespace(start=lambda members: None, end_stopped=lambda members: None, evaluations=Evaluations())


def train(suggester: Suggester, member: MemberConfig, histories: dict[str, list[Any]], end: str) -> dict[str, Any]:
    """One row of a member and, at its end, its result; its news. end: its status then."""
    history, files = histories.setdefault(member.content_hash, []), suggester.directory.member(member)
    history.append(row_of(member, 10 * len(history) + 10))
    if len(history) > len(files.read_rows()[0]):
        files.append_rows(history[-1:])
    is_over = len(history) == RULES.iterations // 10
    if is_over and end == "finished":
        files.write_result(member, end, history)
    elif is_over:
        suggester.members.evaluations.add(member)
    return {"rows": history[-1:], "status": end if is_over else "running", "reason": ""}


def evaluate(suggester: Suggester, trial: str, member: MemberConfig, history: list[Any]) -> None:
    """A trial that evaluates a member, from its start to its end."""
    suggester.directory.member(member).write_result(member, "finished", history)
    news = {member.content_hash: {"rows": history[-1:], "status": "finished", "reason": ""}}
    assert not suggester.must_stop(trial, {"members": news})
    suggester.on_trial_complete(trial, {})


def run(
    directory: StudyDirectory,
    disk: Disk,
    seed: int,
    kill_after: int = 10**9,
    members_per_trial: int = 2,
    end: str = "finished",
) -> tuple[Suggester, int]:
    """Trials take turns at random, a row each, until the search has ended or is killed; and how many rows there were.

    A trial writes its members' results as a real one does, and is started anew by the next command.
    end: status of a member that has trained; `trained` ones are evaluated by trials of their own.
    """
    suggester = Suggester(new_search(RULES, disk), directory, members_per_trial, QUIET, no_reporter())
    generator, running, rows = random.Random(seed), dict[str, list[MemberConfig]](), 0
    read: dict[str, int] = {}
    histories: dict[str, list[Any]] = {}
    evaluating: set[str] = set()
    for event in range(10**4):
        suggestion = suggester.suggest(name := f"{seed}-{kill_after}-{event}")
        if isinstance(suggestion, dict):
            running[name] = [MemberConfig(**fields) for fields in suggestion["members"]]
            evaluating |= {name} if suggestion.get("place") == WITHOUT_GPU["place"] else set()
        if suggestion == Suggester.FINISHED or event >= kill_after:
            assert suggestion != Suggester.FINISHED or not running  # Tune would ask no more
            return suggester, rows
        trial = generator.choice(sorted(running))
        if trial in evaluating:
            [member] = running.pop(trial)
            evaluate(suggester, trial, member, histories[member.content_hash])
            continue
        news = {m.content_hash: train(suggester, m, histories, end) for m in running[trial]}
        rows += len(news)
        running[trial] = [m for m in running[trial] if news[m.content_hash]["status"] == "running"]
        if suggester.must_stop(trial, {"members": news}) or (members_per_trial == 1 and not running[trial]):
            running.pop(trial)
            suggester.on_trial_complete(trial, {})
        elif members_per_trial > 1:
            path = directory.scheduler_files / "mailboxes" / f"{trial}.jsonl"
            taken, dropped, read[trial] = Mailbox(path).news(read.get(trial, 0))
            running[trial] = [m for m in running[trial] + taken if m.content_hash not in dropped]
            of_another_process = {m.content_hash for m in Mailbox(path).news(0).taken}
            assert of_another_process <= {m.content_hash for m in running[trial]}  # which opens no ended ones
            assert 0 < len(running[trial]) <= members_per_trial
            assert len({likeness(member) for member in running[trial]}) == 1
    raise AssertionError("it does not end")


def story(directory: StudyDirectory) -> dict[str, tuple[Any, ...]]:
    """The ends of all members on disk."""
    results = {
        path.name: directory.member(SimpleNamespace(content_hash=path.name)).read_result()
        for path in (directory.path / "members").iterdir()
    }  # type: ignore[arg-type]
    return {name: (r["status"], r.get("stopped_at")) for name, r in results.items() if r}


def test_a_seed_counts_at_the_rung_where_an_earlier_command_stopped_another_of_its_configuration(
    study_directory: StudyDirectory,
) -> None:
    """Though it has no end of its own there: what the search knows of the configuration is the mean of both."""
    rules = with_(configurations=4, parallel=2, seeds=2, first_seeds=2)
    rung = rules.rungs[0]
    members = new_search(rules, Disk()).next()
    assert members is not None
    histories = [[row_of(member, iteration) for iteration in range(10, rung + 10, 10)] for member in members]
    for member, rows in zip(members, histories, strict=True):
        study_directory.member(member).append_rows(rows)
    study_directory.member(members[0]).write_result(members[0], "stopped", histories[0], "lost", stopped_at=rung)
    search = new_search(rules, Disk())
    Suggester(search, study_directory, 1, QUIET, no_reporter()).suggest("1")
    found = search.results()[0]
    values = [rules.objective_values(rows[-1]) for rows in histories]
    assert (found.status, found.values) == ("stopped", means(value for value in values if value is not None))


def test_killed_in_the_middle_it_comes_to_the_same_end_and_then_trains_nothing(tmp_path: Path) -> None:
    whole, killed = StudyDirectory(tmp_path / "whole"), StudyDirectory(tmp_path / "killed")
    disk, other = Disk(), Disk()
    suggester, trained = run(whole, disk, 0)
    assert suggester.search.is_done
    expected = story(whole)
    assert {status for status, _ in expected.values()} == {"finished", "stopped"}
    assert {rung for status, rung in expected.values() if status == "stopped"} <= {10, 30}
    for kill_after in (25, 40):
        run(killed, other, kill_after, kill_after)
        ended = story(killed)
        assert 0 < len(ended) < len(expected)
    run(killed, other, 3)
    assert (story(killed), other.suggestions) == (expected, disk.suggestions)
    assert run(whole, disk, 1)[1] == 0 < trained
    [best] = suggester.search.best()
    assert suggester.search.num_seeds(best.number) == RULES.seeds


def test_members_come_to_the_same_ends_however_many_train_together(tmp_path: Path) -> None:
    """In groups that hand slots on, killed in the middle or not, evaluated by other trials or not."""
    ends = []
    for number, (members_per_trial, kills, end) in enumerate(
        ((1, (), "finished"), (3, (), "finished"), (8, (30, 45), "finished"), (1, (), "trained"), (4, (40,), "trained"))
    ):
        directory, disk = StudyDirectory(tmp_path / str(number)), Disk()
        for kill_after in (*kills, 10**9):
            run(directory, disk, members_per_trial, kill_after, members_per_trial, end)
        ends.append((story(directory), disk.suggestions))
    assert all(other == ends[0] for other in ends[1:])


@pytest.mark.parametrize("is_over", [False, True])
def test_a_trial_that_is_to_move_is_suggested_again_elsewhere(tmp_path: Path, is_over: bool) -> None:
    """One that Tune has given up has failed."""
    member, ended = MemberConfig(), list[tuple[str, str]]()
    jobs = [[member]]
    search: Any = SimpleNamespace(
        is_done=False,
        next=lambda: jobs.pop() if jobs else None,
        configuration_of=lambda name: SimpleNamespace(stopped_at=None),
        observe=lambda name, rows: None,
        end=lambda name, status, stopped_at: ended.append((name, status)),
    )
    places = (Place("gpu_16GB", 0.5, 1), Place("gpu_32GB", 0.25, 2))
    suggester = Suggester(search, StudyDirectory(tmp_path), 1, QUIET, no_reporter(), places)
    first = suggester.suggest("1")
    news = {"rows": [{"iteration": 5.0}], "status": "running", "reason": ""}
    assert not suggester.must_stop("1", {"members": {member.content_hash: news}})
    suggester.places.lost = {first["place"]["resource"]}
    suggester.on_trial_complete("1", error=is_over)
    if is_over:
        assert ended == [(member.content_hash, "failed")]
        return
    second = suggester.suggest("2")
    assert (second["members"], ended) == (first["members"], [])
    assert second["place"]["resource"] not in suggester.places.lost


def test_a_member_that_ends_before_its_verdict_is_stopped_on_disk_too(tmp_path: Path) -> None:
    """The faster one has finished when the slower one comes to the last rung, and is better there."""
    rules = with_(configurations=2, seeds=1, iterations=40, rungs=(30,))
    suggester = Suggester(new_search(rules, Disk()), StudyDirectory(tmp_path), 1, QUIET, no_reporter())
    slow, fast = (MemberConfig.from_dict((suggester.suggest(name) or {})["members"][0]) for name in "ab")  # type: ignore[index]

    def report(trial: str, member: MemberConfig, iteration: int, mig: float, status: str = "running") -> None:
        rows = [row_of(member, iteration) | {"held_out_mig": mig}]
        files = suggester.directory.member(member)
        files.append_rows(rows)
        if status == "finished":
            files.write_result(member, status, files.read_rows()[0])
        suggester.must_stop(trial, {"members": {member.content_hash: {"rows": rows, "status": status, "reason": ""}}})

    report("a", slow, 10, 0.1)
    report("b", fast, 30, 0.2)
    report("b", fast, 40, 0.9, "finished")
    assert suggester.stop_finished() == []
    report("a", slow, 30, 0.3)
    report("a", slow, 40, 0.4, "finished")
    assert [result.status for result in suggester.search.results()] == ["finished", "stopped"]
    assert suggester.stop_finished() == [fast]
    assert story(suggester.directory) == {slow.content_hash: ("finished", None), fast.content_hash: ("stopped", 30)}
    assert suggester.stop_finished() == []


def test_a_member_that_computes_metrics_is_stopped_by_its_next_report_only(tmp_path: Path) -> None:
    """Its process would write the end that it is computing over that of one that was stopped meanwhile."""
    rules = with_(configurations=2, seeds=1, iterations=40, rungs=(30,))
    suggester = Suggester(new_search(rules, Disk()), StudyDirectory(tmp_path), 1, QUIET, no_reporter())
    slow, fast = (MemberConfig.from_dict((suggester.suggest(name) or {})["members"][0]) for name in "ab")  # type: ignore[index]

    def told(member: MemberConfig, mig: float) -> dict[str, Any]:
        rows = [row_of(member, 30) | {"held_out_mig": mig}]
        suggester.directory.member(member).append_rows(rows)
        return {"members": {member.content_hash: {"rows": rows, "status": "running", "reason": ""}}}

    assert not suggester.must_stop("b", told(fast, 0.2))
    assert not suggester.must_stop("a", told(slow, 0.3))  # which decides on the other
    assert not suggester.must_stop("b", {"members": {}, "is_waiting": True, "phase": "computing dci"})
    assert suggester.directory.member(fast).read_result() is None
    assert suggester.must_stop("b", {"members": {}})
    assert suggester.directory.member(fast).stopped_at == 30


@pytest.mark.parametrize("status", ["out_of_memory", "failed"])
def test_a_trial_that_ends_by_itself_leaves_no_member_behind(tmp_path: Path, status: str) -> None:
    """Its members have the end that it told; those that it would have been handed wait for another one."""
    rules = with_(configurations=12, parallel=4, seeds=1)
    suggester = Suggester(new_search(rules, Disk()), StudyDirectory(tmp_path), 4, QUIET, no_reporter())
    ended: list[str] = []
    for number in range(100):
        suggestion = suggester.suggest(f"{number}")
        if suggestion == Suggester.FINISHED:
            break
        assert isinstance(suggestion, dict)  # else nothing would train, and nothing come
        names = [MemberConfig.from_dict(fields).content_hash for fields in suggestion["members"]]
        ended += names
        news = {name: {"rows": [], "status": status, "reason": ""} for name in names}
        suggester.must_stop(f"{number}", {"members": news, "done": True})
        suggester.on_trial_complete(f"{number}", {"done": True})
    assert len(ended) == len(set(ended)) == rules.configurations


@pytest.mark.parametrize("fault", ["", "host7: BrokenGpuError: GPU 0 must compute, but it does not"])
def test_a_trial_that_leaves_its_machine_is_handed_no_more_members(tmp_path: Path, fault: str) -> None:
    """They would wait with it, while other trials have room."""
    rules = with_(configurations=12, parallel=12, seeds=1)
    suggester = Suggester(new_search(rules, Disk()), StudyDirectory(tmp_path), 2, QUIET, no_reporter())
    suggestions = {name: suggester.suggest(name) for name in "abc"}
    trial, members = next((n, s["members"]) for n, s in suggestions.items() if isinstance(s, dict) and s["members"][1:])
    first, second = (MemberConfig.from_dict(fields).content_hash for fields in members)
    news = {
        first: {"rows": [], "status": "failed", "reason": "NonFiniteLossError: it diverged"},
        second: {"rows": [], "status": "running", "reason": fault},
    }
    assert not suggester.must_stop(trial, {"members": news})
    taken, dropped, _ = suggester._mailbox(trial).news(0)
    assert dropped == [first]
    assert len(taken) == (0 if fault else 1)


def test_members_are_in_the_studys_record_from_when_they_are_known(study_directory: StudyDirectory) -> None:
    """Each once, with those of earlier commands: a search may be killed at any time."""
    first, second, third = (MemberConfig(tau=float(tau)) for tau in range(3))
    study = Study("search", (), Schedule(iterations=8), fixed={}, varied=("tau", "seed"))
    study_directory.write_record(dataclasses.replace(study, members=(first,)), {"dsprites": "fingerprint"})
    quiet: Any = SimpleNamespace(add=lambda *_: None)
    reporter = SearchReporter(study, study_directory, parse_space(["tau=0:2"]), quiet, quiet)
    of_none: Any = SimpleNamespace(number=0, suggestion=SimpleNamespace(point={}))
    for members in ((first,), (second, third), (second,)):
        reporter.welcome(of_none, members)
        record = study_directory.read_record() or {}
        assert list(record["members"]) == [m.content_hash for m in (first, second, third)[: len(record["members"])]]
    assert (len(record["members"]), record["fingerprints"]) == (3, {"dsprites": "fingerprint"})
    assert record["members"][third.content_hash]["label"] == "tau=2 seed=0"
