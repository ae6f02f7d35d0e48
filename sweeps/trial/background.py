"""Work in a thread, one piece after the other; it does not keep its process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def in_thread(work: Callable[[], Any], name: str) -> Future[Any]:
    """Have one piece of work done by a thread that ends with it; its result, or error, when it is."""
    future: Future[Any] = Future()
    threading.Thread(target=_fulfil, args=(future, work), name=name, daemon=True).start()
    return future


class Background:
    """A thread that does what it is given, in turn: what PyTorch keeps for a thread, such as its pools, stays."""

    def __init__(self, name: str) -> None:
        self._given: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Have work done; its result, or error, when it is."""
        future: Future[Any] = Future()
        self._given.put((future, work))
        return future

    def _run(self) -> None:
        while True:
            future, work = self._given.get()
            _fulfil(future, work)
            del future, work  # else they live until the next


def _fulfil(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # whoever waits for it raises it
        future.set_exception(error)
