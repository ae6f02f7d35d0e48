"""What a server has not been told yet, and the threads that tell it: training waits for no server."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from larvae.member import Row

RETRY_SECONDS = 30.0
"""How long a server that does not answer is left alone, at most; at first less."""
FIRST_RETRY_SECONDS = 2.0
LINGER_SECONDS = 1.0
"""A thread without work waits so long for more before it ends."""
MOST_ROWS = 200_000
"""Rows kept in memory, about 1 kB each. Beyond them a member's rows are left to the study's folder."""


@dataclass(slots=True)
class News:
    """What is to be told of one member."""

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
    one request. A server that does not answer is left alone for a while and tried again.
    """

    def __init__(
        self, send: Callable[[str, News], bool], unreachable: tuple[type[Exception], ...], num_threads: int
    ) -> None:
        """send: tells the server news of a member, also such that it has told before; False if rows were missing.

        unreachable: what it raises when the server does not answer. Anything else is raised by the next `put` or
        `flush`.
        """
        self.error: Exception | None = None
        """Why the server could not be told last time, if so."""
        self._send, self._unreachable, self._num_threads = send, unreachable, num_threads
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._news: dict[str, News] = {}
        self._planned: dict[str, None] = {}  # of these nothing but that they exist: they come last
        self._being_sent: set[str] = set()
        self._left_to_folder: set[str] = set()
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
        """Whether a thread sends something now or would do so next."""
        return bool(self._being_sent) or (bool(self._news or self._planned) and not self._is_asleep())

    def _is_asleep(self) -> bool:
        return time.monotonic() < self._asleep_until

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
            if not self._is_asleep():
                for members in (self._news, self._planned):
                    if (member := next((m for m in members if m not in self._being_sent), None)) is not None:
                        return member
            has_work = bool(self._news or self._planned)
            if self._has_stopped or (not has_work and time.monotonic() >= deadline):
                return None
            self._changed.wait(LINGER_SECONDS)

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
            self._pause = FIRST_RETRY_SECONDS
            if isinstance(self.error, self._unreachable):
                self.error = None
            if news.from_folder and is_complete:
                self._left_to_folder.discard(member)
        self._changed.notify_all()

    def _keep(self, member: str, news: News, error: Exception) -> None:
        """Put news back, before those that have come meanwhile, and leave the server alone for a while."""
        later = self._news.pop(member, News())
        self._num_rows += len(news.rows)
        news.add(later)
        self._news = {member: news, **self._news}
        if not isinstance(error, self._unreachable):
            self.error, self._asleep_until = error, float("inf")
        elif not self._is_asleep():
            self.error = error
            self._asleep_until = time.monotonic() + self._pause
            self._pause = min(RETRY_SECONDS, 2 * self._pause)
            with contextlib.suppress(OSError, ValueError):  # no one reads what this process prints any more
                name = type(error).__name__
                print(f"MLflow does not answer ({name}); results are kept and sent later", file=sys.stderr)
