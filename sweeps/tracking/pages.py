"""Searches of MLflow, which it answers page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def all_pages(search: Callable[..., Any], *arguments: object, **named: object) -> Iterator[Any]:
    """The finds of a search by MLflow's client, on all of its pages."""
    token: str | None = None
    while True:
        page = search(*arguments, page_token=token, **named)
        yield from page
        token = page.token
        if not token:
            return
