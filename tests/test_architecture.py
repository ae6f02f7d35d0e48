"""Imports flow one way: larvae ← sweeps ← cluster, and larvae, sweeps ← analysis."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "larvae": {"ray", "mlflow", "optuna", "matplotlib", "sweeps", "analysis", "cluster"},
    "sweeps": {"matplotlib", "analysis", "cluster"},
    "analysis": {"ray", "optuna", "cluster"},
}
MLFLOW_FILES = {"sweeps/tracking.py", "analysis/load.py"}
"""The only writer to MLflow and the only reader."""


def imported_packages(path: Path) -> set[str]:
    """Top-level names of all packages that a file imports, wherever in it."""
    packages: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_nothing_that_stands_above_it(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 3
    broken = {str(f): found for f in files if (found := imported_packages(f) & FORBIDDEN[package])}
    assert not broken


def test_only_the_writer_and_the_reader_import_mlflow() -> None:
    files = [f for package in FORBIDDEN for f in (ROOT / package).rglob("*.py")]
    importing = {f.relative_to(ROOT).as_posix() for f in files if "mlflow" in imported_packages(f)}
    assert importing == MLFLOW_FILES
