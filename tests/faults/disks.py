"""A small disk over a folder, which can be filled, emptied and made read-only: commands in its mount namespace see it.

Nothing of it has a name on this machine, and the kernel takes it away with its first process, however the tests end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.sweeps.processes import running, wait_until

MANY = 100_000
PROGRAMS = ("unshare", "nsenter", "setpriv", "mount")
ISOLATED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c")


@functools.cache
def why_not() -> str | None:
    """Why there can be no such disk here, if so."""
    if sys.platform != "linux":
        return "mount namespaces are Linux's"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"not installed: {', '.join(missing)}"
    made = subprocess.run([*ISOLATED, "mount -t tmpfs none /mnt"], capture_output=True, text=True, check=False)
    return f"no mount namespaces here: {made.stderr.strip()}" if made.returncode else None


class Disk:
    """A disk that is there."""

    def __init__(self, folder: Path, first_process: int) -> None:
        self.folder, self._process = folder, first_process
        self._filler = self.seen(folder) / ".filler"

    def seen(self, path: Path) -> Path:
        """A path as this process can read it that commands on the disk's side have."""
        return Path(f"/proc/{self._process}/root") / path.relative_to("/")

    def command(self, words: list[str], folder: Path, **environment: str) -> list[str]:
        """The words that run a command where the disk is, in a folder."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        return [*self._enter, "env", f"--chdir={folder}", *variables, *words]

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes free, in whole pages."""
        self.make_room()
        size = 0
        with self._filler.open("wb") as file:
            while (more := self._free() - left) > 0:
                with contextlib.suppress(OSError):  # others write too
                    os.posix_fallocate(file.fileno(), size, more)
                    size += more

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)

    def allow_files(self, more: int | None) -> None:
        """Let so many files be made beside those that are there; None: any number."""
        space = os.statvfs(self.seen(self.folder))
        self._remount(f"nr_inodes={MANY if more is None else space.f_files - space.f_ffree + more}")

    def make_read_only(self) -> None:
        self._remount("ro")

    @property
    def partials(self) -> list[str]:
        """Names of files that are not whole, but for what fills the disk."""
        return [path.name for path in self.seen(self.folder).rglob("*.partial*")]

    def _free(self) -> int:
        space = os.statvfs(self._filler.parent)
        return space.f_bavail * space.f_frsize

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self._process}", "--mount"]

    def _remount(self, options: str) -> None:
        subprocess.run([*self._enter, "mount", "-o", f"remount,{options}", str(self.folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 64) -> Iterator[Disk]:
    """A disk over a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.disk.txt")
    script = f"mount -t tmpfs -o size={megabytes}m none {shlex.quote(str(folder))} && echo ready && exec sleep infinity"
    with running([*ISOLATED, script], folder.parent, log) as process:
        wait_until(lambda: "ready" in log.read_text() or process.poll() is not None, "a disk", seconds=60)
        assert process.poll() is None, log.read_text()
        yield Disk(folder, process.pid)
