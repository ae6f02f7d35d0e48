"""Outcomes of analysis/'s scripts: files and words, or one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

Main = Callable[[Sequence[str]], int]


class Script(NamedTuple):
    """A script with what a command line always has, and a folder to write below."""

    main: Main
    always: tuple[str, ...]
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def of(self, main: Main, *always: str) -> Script:
        return self._replace(main=main, always=always)

    def succeed(self, given: str = "", output: str = "figures") -> tuple[str, str]:
        """Run it; assert that it names all files that it has written; what it printed, and its notes."""
        code = self.main([*self.always, "--output", str(self.folder / output), *given.split()])
        printed = self.capsys.readouterr()
        assert code == 0, printed.err
        files = sorted(str(file) for file in (self.folder / output).iterdir())
        assert sorted(printed.out.splitlines()[-len(files) :]) == files
        return printed.out, printed.err

    def names(self, output: str = "figures") -> list[str]:
        return sorted(path.name for path in (self.folder / output).iterdir())

    def refuse(self, cases: dict[str, str]) -> None:
        """Assert that each command line writes nothing and ends with 2 and a line in which a pattern is found."""
        for given, pattern in cases.items():
            code = self.main([*self.always, "--output", str(self.folder / "refused"), *given.split()])
            printed = self.capsys.readouterr()
            assert (code, printed.out, printed.err.count("\n")) == (2, "", 1), f"{given}: {printed}"
            assert printed.err.startswith("error: "), given
            assert re.search(pattern, printed.err), f"{given}: {printed.err}"
            assert not (self.folder / "refused").exists(), given

    def refuse_files(self, given: str = "") -> None:
        """Assert that a file in the place of the output, or above it, is told and kept."""
        (self.folder / "file").write_text("kept")
        self.refuse(dict.fromkeys((f"{given} --output {self.folder / path}" for path in ("file", "file/below")), FILE))
        assert (self.folder / "file").read_text() == "kept"


FILE = "`output` must be a directory that can be written"
