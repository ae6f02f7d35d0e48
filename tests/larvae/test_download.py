"""Downloads from a server of this process, which breaks off, ignores ranges, refuses or lies as it is told."""

from __future__ import annotations

import hashlib
import re
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
    """What is served, how badly, and what was asked for."""

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


def test_file_is_downloaded_once(server: Server, cache: Path) -> None:
    paths = {download.fetch(known(server)) for _ in range(2)}
    assert paths == {cache / "downloads" / NAME}
    assert paths.pop().read_bytes() == CONTENT
    assert server.ranges == [None]
    assert files(cache) == {NAME}


def test_broken_connections_are_resumed_where_they_broke(server: Server) -> None:
    server.breaks_after = [BLOCK + 5000, 2 * BLOCK]
    assert download.fetch(known(server)).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={BLOCK}-", f"bytes={3 * BLOCK}-"]


def test_download_of_an_earlier_process_goes_on(server: Server, cache: Path) -> None:
    leave_partial(known(server), CONTENT[:70_000])
    assert download.fetch(known(server)).read_bytes() == CONTENT
    assert server.ranges == ["bytes=70000-"]
    assert files(cache) == {NAME}


def test_server_that_ignores_ranges_sends_everything_again(server: Server) -> None:
    server.knows_ranges = False
    leave_partial(known(server), CONTENT[:70_000])
    assert download.fetch(known(server)).read_bytes() == CONTENT


def test_partial_file_that_was_whole_is_not_asked_for_again(server: Server) -> None:
    leave_partial(known(server), CONTENT)
    assert download.fetch(known(server)).read_bytes() == CONTENT
    assert server.ranges == ["bytes=400000-"]


def test_partial_file_that_is_too_long_is_begun_anew(server: Server) -> None:
    leave_partial(known(server), CONTENT + b"more")
    assert download.fetch(known(server)).read_bytes() == CONTENT
    assert server.ranges == ["bytes=400004-", None]


def test_file_that_changed_its_size_in_between_is_not_kept(server: Server, cache: Path) -> None:
    """The beginning is of another file than the end: only the digest can tell."""
    leave_partial(known(server), b"\0" * 70_000)
    with pytest.raises(InvalidInputError, match=r"^`http[^\n]+` must have sha256 [^\n]+, now deleted: try again"):
        download.fetch(known(server))
    assert files(cache) == set()
    assert download.fetch(known(server)).read_bytes() == CONTENT


def test_another_file_is_deleted_and_named(server: Server, cache: Path) -> None:
    server.content = b"<html>Please log in</html>"
    with pytest.raises(InvalidInputError, match=r"^[^\n]+ got another file, now deleted: [^\n]+ pass --source FILE$"):
        download.fetch(known(server))
    assert files(cache) == set()


def test_server_in_trouble_is_asked_again(server: Server) -> None:
    server.refuses = [503, 500, 503]
    assert download.fetch(known(server)).read_bytes() == CONTENT
    assert len(server.ranges) == 4


def test_server_in_lasting_trouble_is_given_up(server: Server) -> None:
    server.refuses = [503] * 100
    with pytest.raises(
        InvalidInputError, match=r"^`http[^\n]+` must be reachable, but: 503 [^\n]+ by hand from [^\n]+$"
    ):
        download.fetch(known(server))
    assert len(server.ranges) == download.ATTEMPTS


@pytest.mark.parametrize("status", [403, 404])
def test_refusal_is_not_argued_with(server: Server, status: int) -> None:
    server.refuses = [status] * 100
    with pytest.raises(InvalidInputError, match=rf"must be reachable, but: {status} Client Error[^\n]+$"):
        download.fetch(known(server))
    assert len(server.ranges) == 1


def test_connection_that_always_breaks_keeps_what_it_got(server: Server, cache: Path) -> None:
    server.breaks_after = [BLOCK] + [0] * 100
    with pytest.raises(InvalidInputError, match=r"must be reachable, but: [^\n]+$"):
        download.fetch(known(server))
    assert download.partial_path(known(server)).read_bytes() == CONTENT[:BLOCK]
    assert files(cache) == {f"{NAME}.partial"}


def test_unreachable_server_is_one_line_with_advice() -> None:
    nowhere = replace(shapes3d.SPECIFICATION, url=f"http://127.0.0.1:1/{NAME}")
    with pytest.raises(InvalidInputError, match=r"^`http://127.0.0.1:1/[^\n]+; or download it by hand from [^\n]+$"):
        download.fetch(nowhere)


@pytest.mark.parametrize("url", ["", "no address", "ftp://127.0.0.1/3dshapes.h5"])
def test_address_of_another_kind_is_one_line(server: Server, url: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+$"):
        download.fetch(replace(known(server), url=f"x{url}/{NAME}"), url)


def test_another_address_serves_the_same_file(server: Server, cache: Path) -> None:
    elsewhere = replace(known(server), url=f"http://127.0.0.1:1/{NAME}")
    assert download.fetch(elsewhere, server.url) == cache / "downloads" / NAME


def test_two_at_once_download_once(server: Server) -> None:
    threads = [threading.Thread(target=download.fetch, args=(known(server),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]


def test_data_set_without_an_address_says_where_it_is() -> None:
    rule = (
        r"^isaac3d must be downloaded by hand, got no source: get [^\n]+ from https://[^\n]+ and pass --source FOLDER$"
    )
    with pytest.raises(InvalidInputError, match=rule):
        datasets.prepare("isaac3d", download=True)


def test_address_of_the_real_file_names_it() -> None:
    assert re.fullmatch(r"https://[a-z.]+/3d-shapes/3dshapes\.h5", shapes3d.SPECIFICATION.url)


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
