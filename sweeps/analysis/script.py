"""Common parts of the figures' scripts: a command line, errors of one line, files that are whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from larvae import command_line
from larvae.errors import InvalidInputError
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


def write_all(directory: Path, contents: dict[str, bytes]) -> None:
    """Write the files, each whole or not at all. Raises InvalidInputError when the directory refuses them."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (directory / f".{name}.unfinished").write_bytes(content)
        for name in contents:
            (directory / f".{name}.unfinished").replace(directory / name)
    except OSError as error:
        raise InvalidInputError(
            f"`output` must be a directory that can be written, got {directory}: {error}"
        ) from error
