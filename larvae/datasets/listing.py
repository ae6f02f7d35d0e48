"""Lists the files of a folder or an archive, however deep they lie: people pack and unpack what was published."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from larvae.datasets import damage

DEPTH = 4
"""Folders within folders that are looked into: a source may be all that somebody has downloaded."""

Read = Callable[[str], bytes]
"""Gives the content of the file of a name; whatever error where it is missing or broken."""

Files = dict[str, Read]
"""Readers of files by their paths; the path of one in an archive begins with the archive's."""


def read_file(path: str) -> bytes:
    """The content of a file that is in no archive."""
    return Path(path).read_bytes()


def of_folder(folder: Path) -> Files:
    """Files of a folder and of those within it. Links are followed, and a folder with several paths counts once."""
    files: Files = {}
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real, depth = Path(parent).resolve(), len(Path(parent).relative_to(folder).parts)
        folders[:] = sorted(filter(_is_published, folders)) if depth < DEPTH and real not in seen else []
        if real not in seen:
            files |= {f"{parent}/{name}": read_file for name in sorted(names) if _is_published(name)}
        seen.add(real)
    return files


@contextlib.contextmanager
def of_archive(path: Path) -> Iterator[Files]:
    """Files of a zip archive, while this is open; several threads may read them at once.

    Raises InvalidInputError unless its table of contents is whole.
    """
    with damage.told(f"`{path}` must be a whole archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        slashed = {name.replace("\\", "/"): name for name in archive.namelist()}  # Windows writes the others
        names = {f"{path}/{shown}": name for shown, name in slashed.items() if _is_published(shown)}
        yield dict.fromkeys(names, lambda file: archive.read(names[file]))


def _is_published(name: str) -> bool:
    """False for what macOS adds, `__MACOSX/` and `._*`, and for all that is hidden."""
    return not any(part.startswith((".", "__MACOSX")) for part in name.split("/") if part != ".")
