"""The compiled library: made once for a processor, whole or not at all, and done without where it cannot be made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from larvae.native import library as native


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no library loaded yet."""
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path))
    native.library.cache_clear()
    yield tmp_path / "native"
    native.library.cache_clear()


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """Commands that were run to compile; a file that loads as nothing is what they leave."""
    commands: list[list[object]] = []
    run = subprocess.run

    def compile_nothing(command: list[object], **options: object) -> object:
        if "--version" in command:
            return run(command, **options)  # type: ignore[call-overload]
        commands.append(command)
        Path(str(command[-1])).write_text("compiled")
        return None

    monkeypatch.setattr(native.subprocess, "run", compile_nothing)
    return commands


@pytest.fixture
def compiler() -> str:
    try:
        return native.compiler()
    except FileNotFoundError:
        pytest.skip("no C++ compiler")


def test_it_is_compiled_once_for_a_processor(
    cache: Path, compiler: str, compilations: list[list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes may share a home directory: code for the one can crash the other."""
    first, second = native.compiled(compiler), native.compiled(compiler)
    assert first == second
    assert first.read_text() == "compiled"
    assert len(compilations) == 1
    assert list(cache.iterdir()) == [first]
    monkeypatch.setattr(native, "processor_kind", lambda: "model name: another")
    assert native.compiled(compiler) != first
    assert len(list(cache.iterdir())) == len(compilations) == 2


def test_a_failed_compilation_leaves_nothing_and_is_told(
    cache: Path, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "blocks.cpp"
    source.write_text("int main( {")
    monkeypatch.setattr(native, "SOURCE", source)
    with pytest.warns(UserWarning, match=r"blocks\.cpp cannot be compiled into `.*`, PyTorch.*error"):
        assert native.library() is None
    assert list(cache.iterdir()) == []


def test_without_a_compiler_pytorch_s_kernels_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler among c\+\+, g\+\+, clang\+\+"):
        assert not native.is_faster(torch.float32)


def test_a_cache_that_cannot_be_written_is_told(
    compiler: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be compiled"):
        assert native.library() is None


def test_where_it_is_no_faster_it_is_not_even_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain step, and bfloat16 on a processor without a matrix unit, or where the system does not let us use it."""
    monkeypatch.setattr(native, "processor_kind", lambda: "flags: avx512f avx512_bf16")
    monkeypatch.setattr(native, "library", lambda: pytest.fail("nobody needs it"))
    assert not native.is_faster(None)
    assert not native.is_faster(torch.bfloat16)
    monkeypatch.setattr(native, "processor_kind", lambda: "flags: avx512_bf16 amx_bf16 amx_tile")
    for allowed in (False, True):
        monkeypatch.setattr(native, "library", lambda can=allowed: SimpleNamespace(can_use_matrix_unit=lambda: can))
        assert native.is_faster(torch.bfloat16) == allowed
        assert native.is_faster(torch.float32)
