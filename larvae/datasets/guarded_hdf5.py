"""Reads HDF5 files that may be damaged in a process of its own: some damage makes HDF5's library hang, or crash."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 60.0
"""Time for one answer, of a few hundred megabytes at most; after that the library counts as hanging."""

_CHILD = Path(__file__).with_name("hdf5_child.py")


class GuardedArray:
    """An array of a guarded file, read in slices like one of h5py's."""

    def __init__(self, file: GuardedFile, name: str, layout: dict[str, Any]) -> None:
        self._file, self._name = file, name
        self.shape, self.dtype = tuple(layout["shape"]), np.dtype(layout["dtype"])
        self.chunks = layout["chunks"] and tuple(layout["chunks"])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Any:
        start, stop, _ = rows.indices(len(self))
        answer, content = self._file.ask(name=self._name, start=start, stop=stop)
        return np.frombuffer(content, self.dtype).reshape(answer["shape"])


class GuardedFile:
    """A file as its process reads it. All that is wrong with it is an OSError."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the file that are numbers or texts."""
        return self.ask(name=None)[0]["attributes"]

    def __contains__(self, name: str) -> bool:
        return self.ask(name=name)[0]["shape"] is not None

    def __getitem__(self, name: str) -> GuardedArray:
        layout, _ = self.ask(name=name)
        if layout["shape"] is None:
            raise OSError(f"it has no array `{name}`")
        return GuardedArray(self, name, layout)

    def ask(self, **question: Any) -> tuple[dict[str, Any], bytes]:
        """Ask the process; its answer and the bytes that follow it."""
        late = threading.Timer(SECONDS, self._process.kill)
        late.start()
        try:
            return self._asked(question)
        finally:
            late.cancel()

    def _asked(self, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        sent, received = self._process.stdin, self._process.stdout
        assert sent is not None
        assert received is not None
        try:
            sent.write(json.dumps(question).encode() + b"\n")
            sent.flush()
            answer = json.loads(received.readline())
            content = received.read(answer["bytes"])
        except (BrokenPipeError, ValueError):
            answer = {"error": f"HDF5's library crashed over it, or hung for {SECONDS:g} s"}
        if "error" in answer:
            raise OSError(answer["error"])
        if len(content) < answer["bytes"]:
            raise OSError("it could not be read to the end")
        return answer, content


@contextlib.contextmanager
def opened(path: Path) -> Iterator[GuardedFile]:
    """Yield the file at a path, to read. OSError, on reading, where it is none or damaged."""
    command, pipe = [sys.executable, "-P", str(_CHILD), str(path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        try:
            yield GuardedFile(process)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # a question that it did not live to hear
                process.stdin.close()
