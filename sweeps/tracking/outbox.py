"""News that a server has not been told yet, and the threads that tell it: training waits for no server."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

from larvae.member_directory import Row

RETRY_SECONDS = 30.0
"""Seconds, at most, for which a server that does not answer is left alone; at first less."""
FIRST_RETRY_SECONDS = 2.0
TURN_SECONDS = 1.0
"""Seconds by which a member that could not be told of is tried again later than the server: others come first."""
LINGER_SECONDS = 1.0
"""Seconds that a thread without work waits for more before it ends."""
MOST_ROWS = 200_000
"""Rows kept in memory, about 1 kB each. Beyond them a member's rows are left to the study's folder."""


class RefusedError(Exception):
    """The server answers, but does not take the news of one member."""


@dataclass(slots=True)
class News:
    """The news of one member, to be told."""

    rows: list[Row] = field(default_factory=list)
    has_started: bool = False
    end: tuple[str, str] | None = None
    """Status and reason."""
    left_running: bool = False
    """A killed command has left its run RUNNING."""
    from_folder: bool = False
    """Its rows are those of its result in the study's folder."""

    def add(self, later: News) -> None:
        """Take up what has happened since."""
        self.rows.extend(later.rows)
        self.end = later.end or (None if later.has_started else self.end)
        self.has_started |= later.has_started
        self.left_running |= later.left_running
        self.from_folder |= later.from_folder


class Outbox:
    """Keeps news by member and has threads send them: a member's own in their order, by one thread at a time.

    News of a member that has news already are sent together with those: the slower the server, the more rows go into
    one request. A server that does not answer is left alone for a while and tried again; where it refuses the news of
    one member, only that one is.
    """

    def __init__(
        self, send: Callable[[str, News], bool], unreachable: tuple[type[Exception], ...], num_threads: int
    ) -> None:
        """send: tells the server news of a member, also such that it has told before; False if rows were missing.

        They must come from the folder then. unreachable: what it raises when the server does not answer; RefusedError
        is understood too. Anything else is raised by the next `put` or `flush`.
        """
        self.error: Exception | None = None
        """Reason why the server could not be told last time, if so."""
        self._send, self._unreachable, self._num_threads = send, unreachable, num_threads
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._news: dict[str, News] = {}
        self._planned: dict[str, None] = {}  # of these nothing but that they exist: they come last
        self._being_sent: set[str] = set()
        self._left_to_folder: set[str] = set()
        self._left_alone: dict[str, float] = {}  # until when
        self._refused: set[str] = set()
        self._num_rows = 0
        self._asleep_until = 0.0
        self._pause = FIRST_RETRY_SECONDS
        self._has_stopped = False

    def plan(self, member: str) -> None:
        """Send empty news of a member when there is nothing else to do."""
        with self._changed:
            if member not in self._news:
                self._planned[member] = None
            self._wake()

    def put(self, member: str, news: News) -> None:
        """Have news sent; returns at once."""
        with self._changed:
            self._planned.pop(member, None)
            if news.rows and (member in self._left_to_folder or self._num_rows + len(news.rows) > MOST_ROWS):
                self._left_to_folder.add(member)
                news.rows = []
            if news.end is not None and member in self._left_to_folder:
                news.from_folder = True
            self._num_rows += len(news.rows)
            self._news.setdefault(member, News()).add(news)
            self._wake()

    def flush(self, *, again: bool = False) -> bool:
        """Wait until everything has been sent or the server does not answer; True if nothing is left.

        again: ask the server even if it did not answer a moment ago.
        """
        with self._changed:
            if again:
                self._asleep_until = 0.0
                self._left_alone.clear()
            self._wake()
            self._changed.notify_all()
            while self._is_busy() and any(thread.is_alive() for thread in self._threads):
                self._changed.wait(1.0)
            self._raise_unexpected()
            return not (self._news or self._planned or self._left_to_folder)

    def stop(self) -> None:
        """Have the threads end, with what is left unsent; they start again with the next news."""
        with self._changed:
            self._has_stopped = True
            self._changed.notify_all()

    def _is_busy(self) -> bool:
        """Tell whether a thread sends something now or would do so next."""
        return bool(self._being_sent) or self._ready() is not None

    def _is_asleep(self) -> bool:
        return time.monotonic() < self._asleep_until

    def _ready(self) -> str | None:
        """The member to be sent next, if one can be now."""
        if self._is_asleep():
            return None
        now = time.monotonic()
        members = (m for m in chain(self._news, self._planned) if m not in self._being_sent)
        return next((m for m in members if self._left_alone.get(m, 0.0) <= now), None)

    def _wake(self) -> None:
        """Have as many threads as there is work for. Called with the lock held."""
        self._raise_unexpected()
        self._has_stopped = False
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) < min(self._num_threads, len(self._news) + len(self._planned)):
            self._threads.append(threading.Thread(target=self._work, name="outbox", daemon=True))
            self._threads[-1].start()
        self._changed.notify()

    def _raise_unexpected(self) -> None:
        if self.error is not None and not isinstance(self.error, self._unreachable):
            error, self.error, self._asleep_until = self.error, None, 0.0
            self._left_alone.clear()
            raise error

    def _work(self) -> None:
        with self._changed:
            while (member := self._next()) is not None:
                self._send_one(member)
            self._threads.remove(threading.current_thread())
            self._changed.notify_all()

    def _next(self) -> str | None:
        """Wait for a member to be sent; None when there is none for a while. Called with the lock held."""
        deadline = time.monotonic() + LINGER_SECONDS
        while True:
            if (member := self._ready()) is not None:
                return member
            has_work = bool(self._news or self._planned)
            if self._has_stopped or (not has_work and time.monotonic() >= deadline):
                return None
            asleep = self._asleep_until - time.monotonic()
            self._changed.wait(min(asleep, LINGER_SECONDS) if asleep > 0 else LINGER_SECONDS)

    def _send_one(self, member: str) -> None:
        """Send a member's news. Called with the lock held, which others may have while the server is told."""
        self._planned.pop(member, None)
        news = self._news.pop(member, News())
        self._num_rows -= len(news.rows)
        self._being_sent.add(member)
        self._changed.release()
        error, is_complete = None, False
        try:
            is_complete = self._send(member, news)
        except Exception as raised:
            error = raised
        finally:
            self._changed.acquire()
            self._being_sent.discard(member)
        if error is not None:
            self._keep(member, news, error)
        else:
            self._cross_off(member, news, is_complete)
        self._changed.notify_all()

    def _cross_off(self, member: str, news: News, is_complete: bool) -> None:
        """The server has taken the news."""
        self._pause = FIRST_RETRY_SECONDS
        self._left_alone.pop(member, None)
        self._refused.discard(member)
        if isinstance(self.error, self._unreachable):
            self.error = None
        if not is_complete:
            self._left_to_folder.add(member)
        elif news.from_folder:
            self._left_to_folder.discard(member)

    def _keep(self, member: str, news: News, error: Exception) -> None:
        """Put news back, before the member's that have come meanwhile and behind all others', and wait for a while."""
        later = self._news.pop(member, News())
        self._num_rows += len(news.rows)
        news.add(later)
        self._news[member] = news
        if isinstance(error, RefusedError):
            if not self._refused:
                say(f"MLflow refuses news of a member, {error}; results are kept and sent later")
            self._refused.add(member)
            self._left_alone[member] = time.monotonic() + RETRY_SECONDS
        elif not isinstance(error, self._unreachable):
            self.error, self._asleep_until = error, float("inf")
        else:
            if not self._is_asleep():
                self.error = error
                self._asleep_until = time.monotonic() + self._pause
                self._pause = min(RETRY_SECONDS, 2 * self._pause)
                say(f"MLflow does not answer ({type(error).__name__}); results are kept and sent later")
            self._left_alone[member] = self._asleep_until + TURN_SECONDS


def say(line: str) -> None:
    """Tell those at the terminal, if there are any: nothing else depends on it."""
    with contextlib.suppress(OSError, ValueError):  # no one reads what this process prints any more
        print(line, file=sys.stderr)
