"""`torch.compile` where it cannot work: advice in one line, once, and the plain step."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from larvae.advice import advice_taken, advise

TRY = """
import warnings
from larvae.advice import advice_taken
from larvae.compiling import can_compile
with advice_taken() as advice:
    works = can_compile(), can_compile()
print(works, *advice, sep="\\n")
"""


def tried(**environment: str) -> tuple[str, list[str]]:
    """The verdict of a new process, asked twice, and its advice."""
    known = {name: value for name, value in {**os.environ, **environment}.items() if value}
    done = subprocess.run([sys.executable, "-c", TRY], env=known, capture_output=True, text=True, check=True)
    verdict, *advice = done.stdout.splitlines()
    return verdict, advice


@pytest.mark.slow
def test_a_compiler_that_is_not_there_and_a_cache_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    for broken in (
        {"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        {"PATH": "/nowhere", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        {"TORCHINDUCTOR_CACHE_DIR": str(no_folder / "cache")},
    ):
        verdict, advice = tried(**broken)
        assert verdict == "(False, False)"
        [line] = advice
        for word in ("torch.compile does not work on", "--no-compile", "set CXX", "TORCHINDUCTOR_CACHE_DIR"):
            assert word in line


@pytest.mark.slow
def test_a_compiler_of_another_name_is_found(tmp_path: Path) -> None:
    """PyTorch looks for g++ alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("c++", "as", "ld", "openssl"):  # all that it calls
        if path := next((place / name for place in map(Path, ("/usr/bin", "/bin")) if (place / name).exists()), None):
            (folder / name).symlink_to(path)
    assert tried(PATH=str(folder), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache")) == ("(True, True)", [])


@pytest.mark.slow
def test_compiled_code_lies_where_nobody_else_can_write(tmp_path: Path) -> None:
    """PyTorch's own place has a name that anybody can take first."""
    tried(TMPDIR=str(tmp_path), TORCHINDUCTOR_CACHE_DIR="")
    [folder] = tmp_path.glob("larvae-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list((folder / "inductor").iterdir())
    assert not list(tmp_path.glob("torchinductor*"))


def test_advice_is_taken_and_other_warnings_are_shown() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with advice_taken() as taken:
            for _ in range(2):
                advise("mend it")
            warnings.warn("of others", RuntimeWarning, stacklevel=1)
        advise("or not")
    assert taken == ["mend it"] * 2
    assert [str(warning.message) for warning in shown] == ["of others", "or not"]
