"""Downloads from a server of this process, which breaks off, ignores ranges, refuses or lies as it is told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from larvae import datasets
from larvae.datasets import download, shapes3d
from larvae.datasets.specification import Specification
from larvae.errors import InvalidInputError
from tests.larvae import tiny_files

CONTENT = np.random.default_rng(0).bytes(400_000)
NAME = "3dshapes.h5"
BLOCK = 65536
"""Bytes of which a broken connection loses fewer."""


@dataclass
class Server:
    """Content and faults of a server, and the ranges it was asked for."""

    content: bytes = CONTENT
    knows_ranges: bool = True
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off."""
    refuses: list[int] = field(default_factory=list)
    """Status codes of the next answers."""
    url: str = ""
    ranges: list[str | None] = field(default_factory=list)
    """Ranges asked for so far."""


class Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        asked = self.headers.get("Range")
        state.ranges.append(asked)
        if state.refuses:
            self.send_error(state.refuses.pop(0))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.knows_ranges else 0
        total = len(state.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        end = start + state.breaks_after.pop(0) if state.breaks_after else total
        self.wfile.write(state.content[start:end])  # fewer than announced, and the connection ends

    def log_message(self, *_: object) -> None:
        """Nothing: tests are silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    handler = type("OneServersHandler", (Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/somewhere/{NAME}"
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield state
        http.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no waiting between attempts."""
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.0)
    return tmp_path / "cache"


def known(server: Server, content: bytes = CONTENT) -> Specification:
    """3D Shapes as if it were these bytes on that server."""
    checksums = {".h5": ("sha256", hashlib.sha256(content).hexdigest())}
    return replace(shapes3d.SPECIFICATION, url=server.url, download_bytes=len(content), checksums=checksums)


def leave_partial(specification: Specification, content: bytes) -> None:
    path = download.partial_path(specification)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def files(cache: Path) -> set[str]:
    return {path.name for path in (cache / "downloads").iterdir() if path.suffix != ".lock"}


def test_broken_connections_are_resumed_where_they_broke(server: Server) -> None:
    server.breaks_after = [BLOCK + 5000, 2 * BLOCK]
    assert download.fetch(known(server)).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={BLOCK}-", f"bytes={3 * BLOCK}-"]


PARTIAL: dict[str, tuple[bytes, bool, list[str | None]]] = {
    "part": (CONTENT[:70_000], True, ["bytes=70000-"]),
    "part, without ranges": (CONTENT[:70_000], False, ["bytes=70000-"]),
    "whole": (CONTENT, True, ["bytes=400000-"]),
    "too long": (CONTENT + b"more", True, ["bytes=400004-", None]),
}
"""An earlier process's leavings, support of ranges by the server, and the ranges it is asked for."""


@pytest.mark.parametrize("kind", PARTIAL)
def test_download_of_an_earlier_process_goes_on(server: Server, cache: Path, kind: str) -> None:
    content, server.knows_ranges, asked = PARTIAL[kind]
    leave_partial(known(server), content)
    elsewhere = replace(known(server), url=f"http://127.0.0.1:1/{NAME}")
    for _ in range(2):  # the second time it is there
        assert download.fetch(elsewhere, server.url) == cache / "downloads" / NAME
    assert (cache / "downloads" / NAME).read_bytes() == CONTENT
    assert server.ranges == asked
    assert files(cache) == {NAME}


def test_another_file_is_deleted_and_named(server: Server, cache: Path) -> None:
    """One that changed in between too: the beginning is of another file than the end, and only the digest can tell."""
    leave_partial(known(server), b"\0" * 70_000)
    with pytest.raises(InvalidInputError, match=r"^`http[^\n]+` must have sha256 [^\n]+, now deleted: try again"):
        download.fetch(known(server))
    assert files(cache) == set()
    server.content = b"<html>Please log in</html>"
    expected = replace(known(server), download_bytes=len(CONTENT))
    with pytest.raises(InvalidInputError, match=r"^[^\n]+ got another file, now deleted: [^\n]+ pass --source FILE$"):
        download.fetch(expected)
    assert files(cache) == set()


def test_server_in_trouble_is_asked_again_but_a_refusal_is_not_argued_with(server: Server) -> None:
    for status, rule, times in (
        (503, r"^`http[^\n]+` must be reachable, but: 503 [^\n]+ by hand from [^\n]+$", download.ATTEMPTS),
        (403, r"must be reachable, but: 403 Client Error[^\n]+$", 1),
        (404, r"must be reachable, but: 404 Client Error[^\n]+$", 1),
    ):
        server.refuses, server.ranges = [status] * 100, []
        with pytest.raises(InvalidInputError, match=rule):
            download.fetch(known(server))
        assert len(server.ranges) == times
    server.refuses = [503, 500, 503]
    assert download.fetch(known(server)).read_bytes() == CONTENT


def test_connection_that_always_breaks_keeps_what_it_got(server: Server, cache: Path) -> None:
    server.breaks_after = [BLOCK] + [0] * 100
    with pytest.raises(InvalidInputError, match=r"must be reachable, but: [^\n]+$"):
        download.fetch(known(server))
    assert download.partial_path(known(server)).read_bytes() == CONTENT[:BLOCK]
    assert files(cache) == {f"{NAME}.partial"}


def test_unreachable_and_strange_addresses_are_one_line_with_advice(server: Server) -> None:
    for address in ("http://127.0.0.1:1", "no address", "ftp://127.0.0.1"):
        url = f"{address}/{NAME}"
        with pytest.raises(InvalidInputError, match=r"^`[^\n]+; or download it by hand from [^\n]+$"):
            download.fetch(replace(known(server), url=url))
    rule = r"^isaac3d must be downloaded by hand, got no source: get [^\n]+ from https://[^\n]+ pass --source FOLDER$"
    with pytest.raises(InvalidInputError, match=rule):
        datasets.prepare("isaac3d", download=True)


def test_two_at_once_download_once(server: Server) -> None:
    threads = [threading.Thread(target=download.fetch, args=(known(server),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]


def test_downloaded_data_set_is_converted(
    server: Server, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_files.shapes3d(tmp_path)
    server.content = tiny.source.read_bytes()
    served = tiny._replace(specification=replace(tiny.specification, url=server.url))
    tiny_files.register(served, monkeypatch, cache)
    with pytest.raises(InvalidInputError, match=r"^shapes3d is not prepared: run `python -m larvae.datasets prepare"):
        datasets.prepare("shapes3d")
    assert server.ranges == []
    path = datasets.prepare("shapes3d", download=True)
    assert path == datasets.prepare("shapes3d") == datasets.prepare("shapes3d", download=True)
    assert len(server.ranges) == 1
    opened = datasets.open_dataset("shapes3d", path)
    assert np.array_equal(opened.images(np.arange(opened.num_images)).transpose(0, 2, 3, 1), tiny.images)
