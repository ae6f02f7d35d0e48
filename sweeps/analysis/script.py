"""Common parts of the figures' scripts: a command line, errors of one line, files that are whole."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from larvae import command_line
from larvae.errors import InvalidInputError, in_words
from larvae.files import appearing
from sweeps.tracking.addresses import take_passwords_off_command_line

Arguments = TypeVar("Arguments")


def run(kind: type[Arguments], draw: Callable[[Arguments], None], arguments: Sequence[str] | None) -> int:
    """Parse a command line and draw; return the exit code: 2, and one line, when the input breaks a rule."""

    def command() -> int:
        if arguments is None:
            take_passwords_off_command_line()
        draw(command_line.parse(lambda: tyro.cli(kind, args=arguments)))
        return 0

    return command_line.run(command)


def require_one_source(study: str | Sequence[str] | None, kept: object) -> None:
    """Raise InvalidInputError for a study of MLflow's beside kept results; one, or several, or none of each."""
    if study and kept:
        name = study if isinstance(study, str) else " ".join(study)
        raise InvalidInputError(f"`study` must be left out with --kept, got {name}")


def require_different(study: Sequence[str], kept: Sequence[Path]) -> None:
    """Raise InvalidInputError for two studies, or folders of kept results, of one name: it tells them apart."""
    for option, names in (("study", list(study)), ("kept", [folder.resolve().name for folder in kept])):
        if len(set(names)) < len(names):
            raise InvalidInputError(f"`{option}` must have different names, got {' '.join(names)}")


def require_kept(iterations: int | None, kept: object) -> None:
    """Raise InvalidInputError for iterations without kept results."""
    if iterations is not None and not kept:
        raise InvalidInputError(f"`iterations` must be left out without --kept, got {iterations}")


def write_all(directory: Path, contents: dict[str, bytes]) -> None:
    """Write the files, all of them or none, each whole. Raises InvalidInputError when the directory refuses them."""
    folders = (directory.absolute(), *directory.absolute().parents)
    nearest = next(folder for folder in folders if os.path.exists(folder))  # noqa: PTH110 (a Path raises for long names)
    try:
        with contextlib.ExitStack() as all_written:
            for name, content in contents.items():
                all_written.enter_context(appearing(directory / name)).write_bytes(content)
    except OSError as error:
        for made in itertools.takewhile(lambda folder: folder != nearest, folders):
            with contextlib.suppress(OSError):
                made.rmdir()
        raise InvalidInputError(
            f"`output` must be a directory that can be written, got {directory}: {in_words(error)}"
        ) from error
