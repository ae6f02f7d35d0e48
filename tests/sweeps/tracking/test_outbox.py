"""A server is told everything once, in order, by threads that hold up nobody."""

from __future__ import annotations

import random
import threading
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
        self.failing: set[str] = set()
        self.missing: set[str] = set()
        self.is_open = threading.Event()
        self.is_open.set()
        self.rows: dict[str, list[float]] = {}
        self.told: dict[str, list[str]] = {}
        self.calls: list[str] = []
        self.at_once: set[str] = set()
        self.most_at_once = 0
        self.lock = threading.Lock()

    def send(self, member: str, news: News) -> bool:
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
            self.rows.setdefault(member, []).extend(row["iteration"] for row in news.rows)
            self.told.setdefault(member, []).extend(["start"] * news.has_started + ([news.end[0]] if news.end else []))
            return member not in self.missing or news.from_folder
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
    assert wait_until(lambda: box.flush(again=True), "everything to arrive")
    assert server.rows == {member: [float(i) for i in range(1, last + 1)] for member, last in put.items()}


def test_a_server_that_takes_its_time_holds_up_nobody_and_gets_what_has_gathered_at_once(
    server: Server, box: Outbox
) -> None:
    """Members are told of side by side, four at once."""
    server.is_open.clear()
    for iteration in range(1, 1001):
        box.put("abcd"[iteration % 4], News(rows=rows(iteration)))
    wait_until(lambda: server.most_at_once == 4, "four threads")
    server.is_open.set()
    assert box.flush()
    assert sum(map(len, server.rows.values())) == 1000
    assert len(server.calls) <= 3 * 4


def test_news_come_before_members_that_are_only_planned(server: Server) -> None:
    server.is_open.clear()
    box = Outbox(server.send, (AwayError,), num_threads=1)
    for number in range(50):
        box.plan(f"planned-{number}")
    box.put("running", News(has_started=True))
    box.put("planned-49", News(has_started=True))
    server.is_open.set()
    assert box.flush()
    box.stop()
    assert max(server.calls.index("running"), server.calls.index("planned-49")) <= 4
    assert sorted(server.calls) == sorted([*(f"planned-{number}" for number in range(50)), "running"])


def test_a_server_that_comes_back_is_told_without_being_asked_to_and_a_start_takes_back_an_end(
    server: Server, box: Outbox
) -> None:
    """News that come while a request fails are told after what that had."""
    box._pause = 0.05
    server.is_away = True
    server.is_open.clear()
    box.put("a", News(rows=rows(1), end=("failed", "killed")))
    wait_until(lambda: server.calls, "a request")
    box.put("a", News(rows=rows(2)))
    server.is_open.set()
    assert not box.flush()
    assert isinstance(box.error, AwayError)
    box.put("a", News(has_started=True))
    server.is_away = False
    wait_until(lambda: server.rows.get("a"), "the rows to arrive")
    assert box.flush()
    assert box.error is None
    assert (server.rows["a"], server.told["a"]) == ([1, 2], ["start"])


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
    monkeypatch.setattr(outbox, "FIRST_RETRY_SECONDS", 0.01)
    box = Outbox(server.send, (AwayError,), num_threads=1)
    server.failing = {"a"}
    for member in "ab":
        box.put(member, News(rows=rows(1)))
    for number in range(5):
        box.plan(f"planned-{number}")
    others = {"b", *(f"planned-{number}" for number in range(5))}
    wait_until(lambda: others <= set(server.calls), "the others to be told of")
    before_the_last = server.calls[: max(map(server.calls.index, others))]
    assert before_the_last.count("a") == 1
    box.stop()


def test_what_is_missing_is_told_until_the_folder_has_made_up_for_it(
    server: Server, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow lacks rows of a run that was deleted, and those beyond the bound of memory."""
    server.missing = {"a"}
    box.put("a", News(rows=rows(1)))
    box.put("b", News(rows=rows(1)))
    assert not box.flush()
    monkeypatch.setattr(outbox, "MOST_ROWS", 10)
    server.is_away = True
    for iteration in range(2, 101):
        box.put("b", News(rows=rows(iteration)))
    assert sum(len(news.rows) for news in box._news.values()) <= 10
    server.is_away = False
    assert not box.flush(again=True)
    assert server.rows["b"] == list(range(1, len(server.rows["b"]) + 1)), "what was sent has a gap"
    for member in "ab":
        assert not box.flush()
        box.put(member, News(end=("finished", "")))
    assert any(box.flush(again=True) for _ in range(2))  # as `Tracker.close`: a thread may still have found it away


def test_threads_end_and_what_is_unsent_goes_on_with_the_next_news(
    server: Server, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LINGER_SECONDS", 0.01)
    box.put("b", News(has_started=True))
    assert box.flush()
    wait_until(lambda: not any(thread.is_alive() for thread in box._threads), "threads without work to end")
    server.is_away = True
    box.put("a", News(rows=rows(1)))
    assert not box.flush()
    box.stop()
    wait_until(lambda: not any(thread.is_alive() for thread in box._threads), "threads to end")
    server.is_away = False
    box.put("a", News(rows=rows(2)))
    assert box.flush(again=True)
    assert server.rows["a"] == [1, 2]


def test_an_error_that_is_no_outage_is_raised_where_it_is_seen(box: Outbox) -> None:
    box._send = lambda member, news: bool(1 / 0)
    box.put("a", News(has_started=True))
    with pytest.raises(ZeroDivisionError):
        box.flush()
