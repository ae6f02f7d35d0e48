"""Imports flow one way, rooms have no circles, and the installed package claims two names only."""

from __future__ import annotations

import ast
import functools
import graphlib
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[1]
FOLDERS = ("larvae", "sweeps", "analysis", "cluster", "benchmarks")


def imported(text: str) -> Iterator[str]:
    """Yield names of modules that a text imports, at its top or within functions, and of what it takes from them."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


@functools.cache
def imports() -> dict[str, set[str]]:
    """All modules' imports, where a test asks for them: every process of the tests loads this file."""
    return {name: set(imported(path.read_text())) for name, path in MODULES.items()}


def own(name: str) -> str | None:
    """The project's module that an imported name leads to; None for other packages."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def importers(package: str) -> set[str]:
    """Modules that import a package or something of it."""
    return {name for name, modules in imports().items() if any(is_in(module, package) for module in modules)}


def needed(module: str) -> set[str]:
    """Modules of any package that are loaded with a module of the project's."""
    found, left = set(), [module]
    while left:
        name = left.pop()
        for other in imports()[name] - found:
            found.add(other)
            if (leads_to := own(other)) and leads_to not in found:
                found.add(leads_to)
                left.append(leads_to)
    return found


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import ray.tune as tune, mlflow", {"ray.tune", "mlflow"}),
        ("def f():\n    if x:\n        from ray.tune import Tuner", {"ray.tune.Tuner"}),
        ("importlib.import_module('ray')", {"ray"}),
        ("'import ray'  # import ray", set()),
    ],
)
def test_imports_are_found_wherever_they_are(text: str, modules: set[str]) -> None:
    assert set(imported(text)) == modules


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("larvae", ("ray", "mlflow", "optuna", "matplotlib", "sweeps")),
        ("sweeps", ("analysis", "cluster", "benchmarks")),
        ("cluster", ("sweeps.analysis", "matplotlib")),
    ],
)
def test_imports_flow_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    inside = {name for name in MODULES if is_in(name, package)}
    assert len(inside) > 2
    for other in forbidden:
        assert importers(other) & inside == set(), other


def test_nothing_builds_on_the_analysis_but_scripts_and_the_one_that_stops_by_it() -> None:
    builders = {name for name in importers("sweeps.analysis") if not is_in(name, "sweeps.analysis")}
    assert {name.partition(".")[0] for name in builders - {"sweeps.until_decided"}} == {"analysis", "benchmarks"}
    drawing = {name for name in importers("matplotlib") if not is_in(name, "sweeps.analysis")}
    assert {name.partition(".")[0] for name in drawing} <= {"benchmarks"}


def test_mlflow_has_one_writer_and_one_reader() -> None:
    writer = {f"sweeps.tracking.{name}" for name in ("tracker", "sync", "study_run", "study_files")}
    assert importers("mlflow") == {*writer, "sweeps.analysis.connect"}
    assert importers("sweeps.tracking.sync") == {"sweeps.tracking.tracker"}


def test_shared_folders_are_locked_in_one_place() -> None:
    assert importers("filelock") == {"larvae.files"}


def test_rooms_have_no_circles() -> None:
    """Rooms of sweeps/ need each other in one direction; the files beside them stand at both ends."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, modules in imports().items():
        for module in filter(None, map(own, modules)):
            room, other = (".".join(m.split(".")[:2]) for m in (name, module))
            if room != other and all(
                r.startswith("sweeps.") and (ROOT / r.replace(".", "/")).is_dir() for r in (room, other)
            ):
                rooms[room].add(other)
    order = list(graphlib.TopologicalSorter(rooms).static_order())  # raises for a circle
    assert order.index("sweeps.resources") < order.index("sweeps.trial") < order.index("sweeps.driver")


def test_a_trials_process_loads_no_more_than_it_needs() -> None:
    loaded = needed("sweeps.trial.trainable")
    assert {"ray.tune", "torch", "larvae.member.Member"} <= loaded
    unwanted = ("sweeps.preflight", "sweeps.tracking", "sweeps.driver", "sweeps.adaptive", "mlflow", "optuna", "pandas")
    assert [name for name in loaded if any(is_in(name, package) for package in unwanted)] == []


def test_the_installed_package_claims_two_names() -> None:
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packages = setuptools.find_packages(str(ROOT), include=find["include"])
    assert {name.partition(".")[0] for name in packages} == {"larvae", "sweeps"}
    inside = {
        ".".join(path.parent.relative_to(ROOT).parts) for f in ("larvae", "sweeps") for path in (ROOT / f).rglob("*.py")
    }
    assert inside == set(packages)  # no folder without an __init__.py is left behind


@pytest.mark.parametrize("package", ["larvae", "sweeps"])
def test_no_two_files_share_a_name(package: str) -> None:
    names = [path.name for path in (ROOT / package).rglob("*.py") if not path.name.startswith("__")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_files_and_functions_can_be_read_at_once() -> None:
    """Modules have about 300 lines at most, functions about 40, scripts are thin."""
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 320}
    functions = {
        f"{name}.{node.name}": length
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > 44
    }
    scripts = {n: s for n in MODULES if is_in(n, "analysis") and (s := len(MODULES[n].read_text().splitlines())) > 100}
    assert (long, functions, scripts) == ({}, {}, {})


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_start_with_a_verb_or_the_thing(folder: str) -> None:
    questions = ("What ", "Whether ", "Where ", "Who ", "How ", "Why ", "When ", "Which ")
    found = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        if is_in(name, folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and str(node.value.value).startswith(questions)
    ]
    assert found == []
