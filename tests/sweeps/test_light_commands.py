"""`--help` and errors of the command line come at once: nothing heavy is loaded for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT

HEAVY = ("torch", "ray", "sklearn")
RUN = """
import json, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
import io

told = {}
for words in json.loads(sys.argv[1]):
    sys.argv = words
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(output):
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    heavy = [name for name in ("torch", "ray", "sklearn") if name in sys.modules]
    told[" ".join(words)] = [code, output.getvalue(), heavy]
print(json.dumps(told))
"""
HELP = (
    "sweeps/tau_sweep.py",
    "sweeps/search.py",
    "sweeps/logs.py",
    "sweeps/kept_study.py",
    "analysis/sensitivity.py",
    "analysis/traversals.py",
    "cluster/preflight.py",
)
ERRORS = {
    "sweeps/tau_sweep.py --preset quick --nonsense 1": "--nonsense",
    "sweeps/tau_sweep.py --preset quick --seeds 0": "error: `seeds` must be in [1, 10,000], got 0",
}


def test_help_and_errors_load_neither_torch_nor_ray_nor_scikit_learn(folder: Path) -> None:
    """All in one process, from the lightest on: what one has loaded the others would tell."""
    commands = [[str(ROOT / script), "--help"] for script in HELP]
    commands += [[str(ROOT / words.split()[0]), *words.split()[1:]] for words in ERRORS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert {name: heavy for name, (_, _, heavy) in told.items() if heavy} == {}
    for script in HELP:
        code, text, _ = told[f"{ROOT / script} --help"]
        assert (code, "usage" in text, "--help" in text) == (0, True, True), text
    for words, message in ERRORS.items():
        code, text, _ = told[f"{ROOT}/{words}"]
        assert (code, text.count("\n"), message in text) == (2, 1, True), text
    assert list(folder.iterdir()) == []


def test_what_is_looked_for_is_what_training_loads() -> None:
    """Else the test above would tell nothing."""
    pytest.importorskip("sweeps.runner")
    pytest.importorskip("larvae.metrics.sap")
    assert [name for name in HEAVY if name not in sys.modules] == []
