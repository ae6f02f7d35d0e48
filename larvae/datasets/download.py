"""Downloads published files: resumes what was broken off, and keeps nothing whose digest is not the published one."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests
from urllib3.exceptions import LocationParseError

from larvae.datasets import store
from larvae.datasets.specification import Specification
from larvae.errors import InvalidInputError
from larvae.progress_bar import progress_bar

ATTEMPTS = 5
"""Broken connections in a row, without a byte in between, after which a download is given up."""
WAIT_SECONDS = 2.0
"""Time before the second attempt; each later one waits twice as long."""
TIMEOUT_SECONDS = 60.0
"""Time without an answer after which a connection counts as broken."""

_BLOCK = 1 << 16  # bytes; what of a block has come is lost where the connection breaks within it


def directory() -> Path:
    """The folder of published files as they were downloaded."""
    return store.cache_directory() / "downloads"


def downloaded_path(specification: Specification) -> Path:
    """The path of a data set's published file in the cache."""
    return directory() / Path(specification.url).name


def partial_path(specification: Specification) -> Path:
    """The path that holds the bytes of a published file until all are there."""
    path = downloaded_path(specification)
    return path.with_name(f"{path.name}.partial")


def fetch(specification: Specification, url: str = "", *, progress: bool = False) -> Path:
    """Download a data set's published file, unless it is there whole; return its path.

    url: where the file is, if not where its publisher keeps it. One process of a node downloads, others wait for it.
    Raises InvalidInputError where the data set offers no download, the server cannot be reached or refuses,
    or sends another file than the published one, which is then deleted.
    """
    path, source = downloaded_path(specification), url or specification.url
    if not specification.url:
        raise InvalidInputError(
            f"{specification.name} must be downloaded by hand, got no source: "
            f"get {specification.takes} from {specification.home} and pass --source FOLDER"
        )
    algorithm, digest = specification.checksums[path.suffix]
    pooch.get_logger().setLevel(logging.WARNING)  # it announces paths that only confuse
    downloader = ResumingDownloader(partial_path(specification), progress)
    advice = f"download it by hand from {specification.url} and pass --source FILE"
    with store.advised(path), store.locked(path):
        try:
            pooch.retrieve(source, f"{algorithm}:{digest}", path.name, path.parent, downloader=downloader)
        except (requests.RequestException, LocationParseError) as error:
            reason = " ".join(str(error).split())
            raise InvalidInputError(f"`{source}` must be reachable, but: {reason}; or {advice}") from None
        except ValueError:  # pooch's word for a wrong digest
            raise InvalidInputError(
                f"`{source}` must have {algorithm} {digest}, got another file, now deleted: try again, or {advice}"
            ) from None
    return path


@dataclass(frozen=True, slots=True)
class ResumingDownloader:
    """A downloader for pooch that goes on where an earlier one, of whatever process, was broken off."""

    partial: Path
    """Path that holds the bytes until all are there."""
    progress: bool

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download a file. requests.RequestException where the server refuses, or breaks off again and again."""
        failures = 0
        while True:
            before = self._size()
            try:
                self._receive(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                failures = 1 if self._size() > before else failures + 1
                if failures == ATTEMPTS:
                    raise
                time.sleep(WAIT_SECONDS * 2 ** (failures - 1))
        self.partial.replace(output_file)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _receive(self, url: str) -> None:
        """Ask for the bytes that are missing and append them; from the start where the server has it otherwise."""
        start = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            first, total = _range(response)
            if start and response.status_code == requests.codes.requested_range_not_satisfiable:
                if total != start:  # the partial file is of another one: begin anew
                    self.partial.unlink()
                    self._receive(url)
                return
            if response.status_code >= 500:
                raise requests.ConnectionError(f"{response.status_code} {response.reason}")
            response.raise_for_status()
            if first != start:
                start = 0  # the server ignores ranges
            self._append(response, start, total)

    def _append(self, response: requests.Response, start: int, total: int | None) -> None:
        with (
            self.partial.open("r+b" if start else "wb") as file,
            progress_bar(
                total, f"downloading {self.partial.stem}", "bytes", done=start, shown=self.progress
            ) as advance,
        ):
            file.seek(start)
            for block in response.iter_content(_BLOCK):
                file.write(block)
                advance(len(block))
            if total is not None and file.tell() != total:
                raise requests.ConnectionError(f"got {file.tell()} of {total} bytes")


def _range(response: requests.Response) -> tuple[int, int | None]:
    """Position of a response's first byte in the file, and the file's size if the server tells it."""
    told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if told:
        return int(told[1] or 0), int(told[2]) if told[2] != "*" else None
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None
