"""A server is told everything, in order, by threads that hold up nobody."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from sweeps.tracking import backlog
from sweeps.tracking.backlog import Backlog, RefusedError
from tests.sweeps.processes import wait_until


class AwayError(OSError):
    """The server does not answer."""


class Server:
    """Is told of members' folders, which hold a number each: what it was told of them, in order."""

    def __init__(self) -> None:
        self.is_away = False
        self.refused: set[str] = set()
        self.failing: set[str] = set()
        self.is_open = threading.Event()
        self.is_open.set()
        self.folders = Counter[str]()
        self.told: dict[str, list[int]] = {}
        self.calls: list[str] = []
        self.at_once: set[str] = set()
        self.most_at_once = 0
        self.lock = threading.Lock()

    def sync(self, member: str) -> None:
        with self.lock:
            assert member not in self.at_once, "one member is told of by two threads"
            self.at_once.add(member)
            self.most_at_once = max(self.most_at_once, len(self.at_once))
            self.calls.append(member)
        try:
            assert self.is_open.wait(60)
            if self.is_away or member in self.failing:
                raise AwayError
            if member in self.refused:
                raise RefusedError(f"{member} (not found)")
            self.told.setdefault(member, []).append(self.folders[member])
        finally:
            with self.lock:
                self.at_once.discard(member)

    def last_told(self) -> dict[str, int]:
        return {member: told[-1] for member, told in self.told.items()}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def work(server: Server) -> Iterator[Backlog]:
    work = Backlog(server.sync, (AwayError,), num_threads=4)
    yield work
    work.stop()


def change(server: Server, work: Backlog, *members: str) -> None:
    for member in members:
        server.folders[member] += 1
        work.add(member)


def test_the_last_of_every_folder_arrives_through_outages(
    server: Server, work: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(backlog, "RETRY_SECONDS", 0.01)
    work._pause = 0.001
    generator = random.Random(0)
    for turn in range(1500):
        server.is_away = turn // 100 % 3 == 1
        change(server, work, generator.choice("abcdefgh"))
    server.is_away = False
    assert wait_until(lambda: work.flush(again=True), "everything to arrive")
    assert server.last_told() == server.folders
    assert all(told == sorted(told) for told in server.told.values())


def test_a_server_that_takes_its_time_holds_up_nobody_and_is_told_what_has_gathered_at_once(
    server: Server, work: Backlog
) -> None:
    """Members are told of side by side, four at once."""
    server.is_open.clear()
    for turn in range(1000):
        change(server, work, "abcd"[turn % 4])
    wait_until(lambda: server.most_at_once == 4, "four threads")
    server.is_open.set()
    assert work.flush()
    assert server.last_told() == dict.fromkeys("abcd", 250)
    assert len(server.calls) <= 3 * 4


def test_changed_members_come_before_those_that_are_only_to_be_seen(server: Server) -> None:
    server.is_open.clear()
    work = Backlog(server.sync, (AwayError,), num_threads=1)
    for number in range(50):
        work.add(f"seen-{number}", last=True)
    work.add("running")
    work.add("seen-49")
    work.add("seen-49", last=True)
    server.is_open.set()
    assert work.flush()
    work.stop()
    assert max(server.calls.index("running"), server.calls.index("seen-49")) <= 4
    assert sorted(server.calls) == sorted([*(f"seen-{number}" for number in range(50)), "running"])


def test_a_server_that_comes_back_is_told_without_being_asked_to(server: Server, work: Backlog) -> None:
    """Also what has changed while a request failed."""
    work._pause = 0.05
    server.is_away = True
    server.is_open.clear()
    change(server, work, "a")
    wait_until(lambda: server.calls, "a request")
    change(server, work, "a")
    server.is_open.set()
    assert not work.flush()
    assert isinstance(work.error, AwayError)
    server.is_away = False
    wait_until(lambda: server.told.get("a"), "the member to be told of")
    assert work.flush()
    assert work.error is None
    assert server.told["a"][-1] == 2


@pytest.mark.parametrize("num_threads", [1, 4])
def test_a_member_that_is_refused_holds_up_no_other(
    server: Server, num_threads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Backlog(server.sync, (AwayError,), num_threads)
    server.refused = {"a"}
    change(server, work, "a")
    work.add("seen", last=True)
    assert not work.flush()
    for _ in range(3):
        change(server, work, *"abcd")
        assert not work.flush()
    assert [server.told.get(member) for member in "bcd"] == 3 * [[1, 2, 3]]
    assert "seen" in server.calls
    assert server.calls.count("a") == 1, "it is not left alone"
    assert not work.flush(again=True)
    assert server.calls.count("a") == 2
    printed = capsys.readouterr().err.splitlines()
    assert printed == ["MLflow refuses news of a member, a (not found); results are kept and sent later"]
    server.refused = set()
    assert work.flush(again=True)
    assert server.told["a"] == [4]
    work.stop()


def test_a_member_that_the_server_fails_on_comes_last(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "FIRST_RETRY_SECONDS", 0.01)
    work = Backlog(server.sync, (AwayError,), num_threads=1)
    server.failing = {"a"}
    change(server, work, *"ab")
    seen = [f"seen-{number}" for number in range(5)]
    for name in seen:
        work.add(name, last=True)
    others = {"b", *seen}
    wait_until(lambda: others <= set(server.calls), "the others to be told of")
    before_the_last = server.calls[: max(map(server.calls.index, others))]
    assert before_the_last.count("a") == 1
    work.stop()


def test_threads_end_and_what_is_left_goes_on_with_the_next_member(server: Server, work: Backlog) -> None:
    server.is_away = True
    change(server, work, *"ab")
    assert not work.flush()
    threads = work._threads
    work.stop()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), "threads to end")
    server.is_away = False
    change(server, work, "c")
    assert work.flush(again=True)
    assert server.last_told() == {"a": 1, "b": 1, "c": 1}


def test_an_error_that_is_no_outage_is_raised_where_it_is_seen(work: Backlog) -> None:
    def fail(member: str) -> None:
        raise ZeroDivisionError

    work._sync = fail
    work.add("a")
    with pytest.raises(ZeroDivisionError):
        work.flush()


@pytest.mark.parametrize("late_fails", [False, True])
def test_what_began_before_the_server_went_away_or_came_back_tells_nothing(
    late_fails: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer from before an outage does not end it, nor does a failure from before it came back begin one."""
    monkeypatch.setattr(backlog, "FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(backlog, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(backlog, "TURN_SECONDS", 0.001)
    is_waiting, may_end, is_away, quick = threading.Event(), threading.Event(), threading.Event(), Counter[bool]()

    def sync(member: str) -> None:
        if member == "late":
            is_first = not is_waiting.is_set()
            is_waiting.set()
            assert may_end.wait(60)
            if is_first and late_fails:
                raise AwayError
            return
        quick[is_away.is_set()] += 1
        if is_away.is_set():
            raise AwayError

    def ask(away: bool) -> None:
        before = quick[away]
        wait_until(lambda: (work.add("quick"), quick[away] > before + 2)[1], f"answers, {away=}")

    work = Backlog(sync, (AwayError,), num_threads=2)
    work.add("late")
    assert is_waiting.wait(60)
    if not late_fails:
        is_away.set()
    ask(not late_fails)
    may_end.set()
    ask(not late_fails)
    assert work.is_away is not late_fails
    work.stop()
    assert capsys.readouterr().err.count("does not answer") == (0 if late_fails else 1)
