"""What has to be told to a server is told once, in order, by threads that hold up nobody."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from sweeps.tracking import outbox
from sweeps.tracking.outbox import News, Outbox, RefusedError
from tests.sweeps.processes import wait_until


class AwayError(OSError):
    """The server does not answer."""


class Server:
    """Takes news as a server would: rows by member, and what it was told of starts and ends."""

    def __init__(self) -> None:
        self.is_away = False
        self.refused: set[str] = set()
        self.seconds = 0.0
        self.rows: dict[str, list[float]] = {}
        self.told: dict[str, list[str]] = {}
        self.calls: list[str] = []
        self.at_once: set[str] = set()
        self.threads: set[str] = set()
        self.lock = threading.Lock()

    def send(self, member: str, news: News) -> bool:
        with self.lock:
            assert member not in self.at_once, "one member is told of by two threads"
            self.at_once.add(member)
            self.calls.append(member)
            self.threads.add(threading.current_thread().name)
        try:
            time.sleep(self.seconds)
            if self.is_away:
                raise AwayError
            if member in self.refused:
                raise RefusedError(f"{member} (not found)")
            known = self.rows.setdefault(member, [])
            known += [row["iteration"] for row in news.rows]
            told = self.told.setdefault(member, [])
            told += ["start"] * news.has_started + ([news.end[0]] if news.end else [])
            return True
        finally:
            with self.lock:
                self.at_once.discard(member)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def box(server: Server) -> Iterator[Outbox]:
    box = Outbox(server.send, (AwayError,), num_threads=4)
    yield box
    box.stop()


def rows(*iterations: int) -> list[dict[str, float]]:
    return [{"iteration": iteration} for iteration in iterations]


def test_everything_arrives_once_and_in_order_through_outages(
    server: Server, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.01)
    box._pause = 0.001
    generator = random.Random(0)
    put = dict.fromkeys("abcdefgh", 0)
    for turn in range(1500):
        server.is_away = turn // 100 % 3 == 1
        member = generator.choice("abcdefgh")
        put[member] += 1
        box.put(member, News(rows=rows(put[member])))
    server.is_away = False
    assert wait_until(lambda: box.flush(again=True), "everything to arrive", 30)
    assert server.rows == {member: [float(i) for i in range(1, last + 1)] for member, last in put.items() if last}


def test_a_slow_server_holds_up_nobody_and_gets_what_has_gathered_at_once(server: Server, box: Outbox) -> None:
    server.seconds = 0.2
    started = time.monotonic()
    for iteration in range(1, 1001):
        box.put("a", News(rows=rows(iteration)))
    assert time.monotonic() - started < 0.2
    assert box.flush()
    assert server.rows["a"] == list(range(1, 1001))
    assert len(server.calls) <= 3


def test_members_are_told_of_side_by_side(server: Server, box: Outbox) -> None:
    server.seconds = 0.2
    for member in "abcd":
        box.put(member, News(has_started=True))
    started = time.monotonic()
    assert box.flush()
    assert len(server.calls) == 4
    assert time.monotonic() - started < 0.7  # one after the other they take 0.8 s


def test_news_come_before_members_that_are_only_planned(server: Server) -> None:
    server.seconds = 0.01
    box = Outbox(server.send, (AwayError,), num_threads=1)
    for number in range(50):
        box.plan(f"planned-{number}")
    box.put("running", News(has_started=True))
    box.put("planned-49", News(has_started=True))
    assert box.flush()
    box.stop()
    assert server.calls.index("running") <= 3
    assert server.calls.index("planned-49") <= 4
    assert sorted(server.calls) == sorted([*(f"planned-{number}" for number in range(50)), "running"])


def test_a_start_after_an_end_takes_it_back(server: Server, box: Outbox) -> None:
    server.is_away = True
    box.put("a", News(rows=rows(1), end=("failed", "killed")))
    assert not box.flush()
    box.put("a", News(has_started=True))
    server.is_away = False
    assert box.flush(again=True)
    assert server.told["a"] == ["start"]
    assert server.rows["a"] == [1]


def test_a_server_that_comes_back_is_told_without_being_asked_to(
    server: Server, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box._pause = 0.1
    server.is_away = True
    box.put("a", News(rows=rows(1)))
    assert not box.flush()
    assert isinstance(box.error, AwayError)
    server.is_away = False
    wait_until(lambda: server.rows.get("a"), "the row to arrive", 20)
    assert box.flush()
    assert box.error is None


@pytest.mark.parametrize("num_threads", [1, 4])
def test_a_member_that_is_refused_holds_up_no_other(
    server: Server, num_threads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Outbox(server.send, (AwayError,), num_threads)
    server.refused = {"a"}
    box.put("a", News(rows=rows(1)))
    box.plan("planned")
    assert not box.flush()
    for iteration in (1, 2, 3):
        for member in "abcd":
            box.put(member, News(rows=rows(iteration)))
        assert not box.flush()
    assert [server.rows.get(member) for member in "bcd"] == 3 * [[1, 2, 3]]
    assert "planned" in server.calls
    assert server.calls.count("a") == 1, "it is not left alone"
    assert not box.flush(again=True)
    assert server.calls.count("a") == 2
    printed = capsys.readouterr().err.splitlines()
    assert printed == ["MLflow refuses news of a member, a (not found); results are kept and sent later"]
    server.refused = set()
    assert box.flush(again=True)
    assert server.rows["a"] == [1, 1, 2, 3]
    box.stop()


def test_a_member_that_the_server_fails_on_comes_last(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "TURN_SECONDS", 0.5)
    box = Outbox(server.send, (AwayError,), num_threads=1)
    send = server.send

    def fails_on_one(member: str, news: News) -> bool:
        if member == "a":
            server.calls.append(member)
            raise AwayError
        return send(member, news)

    box._send = fails_on_one
    box.put("a", News(rows=rows(1)))
    box.put("b", News(rows=rows(1)))
    for number in range(5):
        box.plan(f"planned-{number}")
    others = {"b", *(f"planned-{number}" for number in range(5))}
    wait_until(lambda: others <= set(server.calls), "the others to be told of", 20)
    assert server.calls.count("a") == 1
    box.stop()


def test_what_is_missing_is_told_until_the_folder_has_made_up_for_it(server: Server, box: Outbox) -> None:
    send, missing = server.send, {"a"}

    def loses(member: str, news: News) -> bool:
        send(member, news)
        return member not in missing or news.from_folder

    box._send = loses
    box.put("a", News(rows=rows(1)))
    box.put("b", News(rows=rows(1)))
    assert not box.flush()
    box.put("a", News(rows=rows(2)))
    box.put("a", News(end=("finished", "")))
    assert box.flush()
    assert server.rows == {"a": [1], "b": [1]}


def test_memory_is_bounded_and_the_folder_makes_up_for_it(
    server: Server, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows beyond the bound are left to the member's result; until it is there, MLflow has not everything."""
    monkeypatch.setattr(outbox, "MOST_ROWS", 10)
    told: list[bool] = []
    send = server.send
    box._send = lambda member, news: told.append(news.from_folder) or send(member, news)  # type: ignore[func-returns-value]
    server.is_away = True
    for iteration in range(1, 101):
        box.put("a", News(rows=rows(iteration)))
    assert sum(len(news.rows) for news in box._news.values()) <= 10
    server.is_away = False
    assert not box.flush(again=True)
    assert server.rows["a"] == list(range(1, len(server.rows["a"]) + 1)), "what was sent has a gap"
    box.put("a", News(end=("finished", "")))
    assert box.flush()
    assert told[-1]


def test_an_error_that_is_no_outage_is_raised_where_it_is_seen(server: Server, box: Outbox) -> None:
    def broken(member: str, news: News) -> bool:
        raise ZeroDivisionError

    box._send = broken
    box.put("a", News(has_started=True))
    with pytest.raises(ZeroDivisionError):
        box.flush()


def test_threads_end_when_there_is_nothing_to_do(server: Server, box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LINGER_SECONDS", 0.05)
    before = threading.active_count()
    for member in "abcdef":
        box.put(member, News(has_started=True))
    assert box.flush()
    assert len(server.threads) >= 1
    wait_until(lambda: threading.active_count() <= before, "threads to end", 20)


def test_stopping_leaves_what_is_unsent_and_the_next_news_go_on(server: Server, box: Outbox) -> None:
    server.is_away = True
    box.put("a", News(rows=rows(1)))
    assert not box.flush()
    box.stop()
    wait_until(lambda: not any(thread.is_alive() for thread in box._threads), "threads to end", 20)
    server.is_away = False
    box.put("a", News(rows=rows(2)))
    assert box.flush(again=True)
    assert server.rows["a"] == [1, 2]
