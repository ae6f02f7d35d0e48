"""Imports flow one way: larvae ← sweeps ← cluster, and larvae, sweeps ← analysis."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_SOURCE = ("tests", "build", "dist")


def imported_modules(text: str) -> Iterator[str]:
    """Names of all modules that a text imports, at its top or within functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def read_imports() -> dict[str, set[str]]:
    """Top-level packages that each source file imports, by its path from the root."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in NOT_SOURCE]
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    return {
        file.relative_to(ROOT).as_posix(): {name.partition(".")[0] for name in imported_modules(file.read_text())}
        for file in files
    }


IMPORTS = read_imports()


def files_of(package: str) -> dict[str, set[str]]:
    return {file: names for file, names in IMPORTS.items() if file.startswith(f"{package}/")}


def importers(module: str) -> set[str]:
    return {file for file, names in IMPORTS.items() if module in names}


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import ray", {"ray"}),
        ("import ray.tune as tune, mlflow", {"ray.tune", "mlflow"}),
        ("from ray.tune import Tuner", {"ray.tune"}),
        ("def f():\n    if x:\n        import ray", {"ray"}),
        ("importlib.import_module('ray')", {"ray"}),
        ("__import__('ray')", {"ray"}),
        ("'import ray'  # import ray", set()),
    ],
)
def test_imports_are_found_wherever_they_are(text: str, modules: set[str]) -> None:
    assert set(imported_modules(text)) == modules


@pytest.mark.parametrize(
    ("package", "must_import"),
    [("larvae", {"torch", "numpy"}), ("sweeps", {"ray", "larvae"}), ("analysis", {"pandas", "larvae"})],
)
def test_the_packages_are_where_these_tests_look(package: str, must_import: set[str]) -> None:
    files = files_of(package)
    assert len(files) >= 5
    assert must_import <= set().union(*files.values())


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("larvae", {"ray", "mlflow", "optuna", "matplotlib", "sweeps", "analysis", "cluster"}),
        ("sweeps", {"analysis", "cluster", "matplotlib"}),
        ("cluster", {"analysis", "matplotlib"}),
    ],
)
def test_imports_flow_one_way(package: str, forbidden: set[str]) -> None:
    assert {file: names & forbidden for file, names in files_of(package).items() if names & forbidden} == {}


def test_nothing_builds_on_the_analysis() -> None:
    outside = importers("analysis") - files_of("analysis").keys()
    assert outside == set()


def test_mlflow_has_one_writer_and_one_reader() -> None:
    assert importers("mlflow") == {"sweeps/tracking/tracker.py", "sweeps/analysis/load.py"}


def test_only_the_analysis_draws() -> None:
    drawing = importers("matplotlib")
    assert drawing
    assert drawing <= files_of("analysis").keys()
