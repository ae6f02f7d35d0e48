"""Members whose runs may be behind their folders, and the threads that bring them up: training waits for no server."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

RETRY_SECONDS = 30.0
"""Seconds, at most, for which a server that does not answer is left alone; at first less."""
FIRST_RETRY_SECONDS = 2.0
TURN_SECONDS = 1.0
"""Seconds by which a member that could not be told of is tried again later than the server: others come first."""
LOOK_SECONDS = 1.0
"""Seconds after which a waiting thread looks again whether there is work: not everything that makes some tells it."""


class RefusedError(Exception):
    """The server answers, but does not take what it is told of one member."""


class Backlog:
    """Keeps the names of members and has threads sync them: one member by one thread at a time.

    A member that is added again before its turn is synced once: the slower the server, the more rows go into one
    request. A server that does not answer is left alone for a while and tried again; where it refuses one member, only
    that one is.
    """

    def __init__(
        self,
        sync: Callable[[str], None],
        unreachable: tuple[type[Exception], ...],
        num_threads: int,
        file: Path | None = None,
    ) -> None:
        """sync: brings the server up to date with a member, also where it has done so before.

        unreachable: what it raises when the server does not answer; RefusedError is understood too. Anything else is
        raised by the next `add` or `flush`. file: the database, where it is on this machine.
        """
        self.error: Exception | None = None
        """Reason why the server could not be told last time, if so."""
        self._sync, self._unreachable, self._num_threads = sync, unreachable, num_threads
        self._file = f": {file}" if file else ""
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._due: dict[str, None] = {}
        self._due_last: dict[str, None] = {}
        self._being_synced: set[str] = set()
        self._left_alone: dict[str, float] = {}  # until when
        self._refused: set[str] = set()
        self._asleep_until = 0.0
        self._pause = FIRST_RETRY_SECONDS
        self.is_away = False
        """True while the server does not answer."""
        self._noticed = self._answered = 0.0
        """Times of the last failure that meant an outage, and of the last answer: what began earlier tells nothing."""

    def add(self, member: str, *, last: bool = False) -> None:
        """Have a member synced; returns at once. last: when there is nothing else to do."""
        with self._changed:
            if not last:
                self._due_last.pop(member, None)
                self._due[member] = None
            elif member not in self._due:
                self._due_last[member] = None
            self._wake()

    def flush(self, *, again: bool = False) -> bool:
        """Wait until all are synced or the server does not answer; True if nothing is left.

        again: ask the server even if it did not answer a moment ago.
        """
        with self._changed:
            if again:
                self._asleep_until = 0.0
                self._left_alone.clear()
            self._wake()
            self._changed.notify_all()
            while self._being_synced or self._ready() is not None:
                self._changed.wait(LOOK_SECONDS)
            self._raise_unexpected()
            return not self._has_work()

    def stop(self) -> None:
        """Have the threads end, with what is left undone; others start with the next member."""
        with self._changed:
            self._threads = []
            self._changed.notify_all()

    def _has_work(self) -> bool:
        return bool(self._due or self._due_last)

    def _is_asleep(self) -> bool:
        return time.monotonic() < self._asleep_until

    def _ready(self) -> str | None:
        """The member to be synced next, if one can be now."""
        if self._is_asleep():
            return None
        now = time.monotonic()
        members = (m for m in chain(self._due, self._due_last) if m not in self._being_synced)
        return next((m for m in members if self._left_alone.get(m, 0.0) <= now), None)

    def _wake(self) -> None:
        """Have threads that look for work. Called with the lock held."""
        self._raise_unexpected()
        while len(self._threads) < self._num_threads:
            self._threads.append(threading.Thread(target=self._work, name="backlog", daemon=True))
            self._threads[-1].start()
        self._changed.notify()

    def _raise_unexpected(self) -> None:
        if self.error is not None and not isinstance(self.error, self._unreachable):
            error, self.error, self._asleep_until = self.error, None, 0.0
            self._left_alone.clear()
            raise error

    def _work(self) -> None:
        """Sync one member after the other, until the threads are to end."""
        with self._changed:
            while threading.current_thread() in self._threads:
                if (member := self._ready()) is not None:
                    self._sync_one(member)
                else:
                    asleep = self._asleep_until - time.monotonic()
                    self._changed.wait(min(asleep, LOOK_SECONDS) if asleep > 0 else LOOK_SECONDS)

    def _sync_one(self, member: str) -> None:
        """Sync a member. Called with the lock held, which others may have while the server is told."""
        self._due.pop(member, None)
        self._due_last.pop(member, None)
        self._being_synced.add(member)
        self._changed.release()
        began, error = time.monotonic(), None
        try:
            self._sync(member)
        except Exception as raised:
            error = raised
        finally:
            self._changed.acquire()
            self._being_synced.discard(member)
        if error is None:
            self._cross_off(member, began)
        else:
            self._keep(member, error, began)
        self._changed.notify_all()

    def _cross_off(self, member: str, began: float) -> None:
        """The server is up to date with a member, of which it was told from a time on."""
        self._left_alone.pop(member, None)
        self._refused.discard(member)
        if began < self._noticed:  # by an answer from before it went away
            return
        self._answered = time.monotonic()
        self._pause = FIRST_RETRY_SECONDS
        self.is_away = False
        if isinstance(self.error, self._unreachable):
            self.error = None

    def _keep(self, member: str, error: Exception, began: float) -> None:
        """Put a member behind all others, and wait for a while."""
        self._due.pop(member, None)
        self._due[member] = None
        if isinstance(error, RefusedError):
            if not self._refused:
                say(f"MLflow refuses news of a member, {error}; results are kept and sent later")
            self._refused.add(member)
            self._left_alone[member] = time.monotonic() + RETRY_SECONDS
        elif not isinstance(error, self._unreachable):
            self.error, self._asleep_until = error, float("inf")
        elif began < self._answered:  # it has come back since
            self._left_alone[member] = time.monotonic() + TURN_SECONDS
        else:
            if not self._is_asleep():
                self.error, self._noticed = error, time.monotonic()
                self._asleep_until = time.monotonic() + self._pause
                self._pause = min(RETRY_SECONDS, 2 * self._pause)
                if not self.is_away:
                    say(f"MLflow does not answer ({_reason(error)}{self._file}); results are kept and sent later")
                self.is_away = True
            self._left_alone[member] = self._asleep_until + TURN_SECONDS


def say(line: str) -> None:
    """Tell those at the terminal, if there are any: nothing else depends on it."""
    with contextlib.suppress(OSError, ValueError):  # no one reads what this process prints any more
        print(line, file=sys.stderr)


def _reason(error: Exception) -> str:
    """A database's own words, such as `database is locked`; an error's kind where it has none."""
    of_driver = getattr(error.__cause__ or error, "orig", None)
    return str(of_driver).partition("\n")[0] if of_driver else type(error).__name__
