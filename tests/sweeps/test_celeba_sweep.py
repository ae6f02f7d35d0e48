"""The CelebA experiment: its members, its words, and all its commands on generated photographs."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from analysis import traversals
from larvae.config import MemberConfig
from larvae.datasets import SPECIFICATIONS, celeba
from larvae.member_directory import MemberDirectory
from larvae.metrics import METRICS, applicable
from sweeps import celeba_sweep, options, runner
from sweeps.analysis.traversal_models import PAPERS_NAMES
from sweeps.options import StudyOptions
from sweeps.study import Study
from tests.commands import ROOT, help_of
from tests.larvae import tiny_files
from tests.larvae.tiny_files import Tiny
from tests.sweeps.commands import places

TRAVERSED = {"bangs", "bushy_eyebrows", "eyeglasses", "pale_skin", "receding_hairline", "smiling"}
"""Attributes of Figs. 4d-f and E.4, as CelebA calls them."""


@pytest.mark.parametrize(
    ("preset", "seeds", "iterations"), [("quick", 2, 300), ("laptop", 3, 20_000), ("paper", 6, 1_000_000)]
)
def test_each_preset_has_the_baseline_and_larvae_of_each_seed_with_all_attributes_as_labels(
    preset: str, seeds: int, iterations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[Study, StudyOptions]] = []
    monkeypatch.setattr(runner, "run_study", lambda *both: ran.append(both) or 0)
    assert celeba_sweep.run(["--preset", preset]) == 0
    [(study, chosen)] = ran
    expected = [MemberConfig(dataset="celeba", tau=tau, seed=seed) for tau in (0, 0.05) for seed in range(seeds)]
    assert len(study.members) == len(expected)
    assert set(study.members) == set(expected)
    for member in study.members:
        assert member.labels == celeba.ATTRIBUTES
        assert (len(member.labels), member.label_rate, member.z_dim, member.regulariser) == (40, 0.01, 5, "beta_tcvae")
    assert (study.name, chosen.preset, study.schedule.iterations) == (f"celeba-sweep-{preset}", preset, iterations)
    computed = {*study.schedule.metrics, *study.schedule.final_metrics}
    assert computed == {*applicable(METRICS, celeba.SPECIFICATION)} & {*study.schedule.final_metrics} != set()


def test_the_figure_is_of_the_papers_attributes_by_its_names() -> None:
    for preset in celeba_sweep.PRESETS.values():
        script, flag, *names = preset.figure_command.split()
        assert (script, flag, tuple(names)) == ("analysis/traversals.py", "--factors", celeba_sweep.VARIED)
        assert traversals.Arguments(factors=tuple(names)).factors == celeba_sweep.VARIED
    assert {PAPERS_NAMES["celeba"].get(name, name) for name in celeba_sweep.VARIED} == TRAVERSED


def test_the_papers_names_are_of_factors_and_hide_none() -> None:
    for dataset, names in PAPERS_NAMES.items():
        known = SPECIFICATIONS[dataset].factors.names
        assert set(names.values()) <= set(known)
        assert set(names).isdisjoint(known)


def test_help_teaches_what_to_get_and_type() -> None:
    text = " ".join(help_of("sweeps/celeba_sweep.py").split())
    for part in (
        *celeba.SPECIFICATION.checksums,  # the published files
        celeba.SPECIFICATION.home,
        "python -m larvae.datasets prepare celeba --source FOLDER",
        "--preset laptop a night on 2 to 8 cores",
        "--plan",
        "(default: celeba-sweep-quick)",
    ):
        assert part in text


def test_without_the_photographs_one_line_says_what_to_type_and_nothing_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["celeba_sweep.py", "--preset", "quick", *places(folder)])
    assert options.main(celeba_sweep.run) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: celeba is not prepared: run `python -m larvae.datasets prepare celeba --source ")
    assert error.count("\n") == 1
    assert not (folder / "results").exists()


# All commands


NUM_IMAGES = 400
"""Of which 1 % are four labelled ones."""
FEWER = "--iterations 4 --log-every 2 --evaluate-every 4 --evaluation-size 200 --batch-size 4 --no-compile"
"""The quick preset in seconds."""


class Project(NamedTuple):
    """A copy of the project in which a few generated photographs are all of CelebA."""

    folder: Path
    tiny: Tiny

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run what comes after `python` in the project's folder."""
        environment = os.environ | {"PYTHONPATH": str(self.folder), "LARVAE_CACHE_DIR": str(self.folder / "cache")}
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def succeed(self, *words: str) -> str:
        ended = self.run(*words)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture
def project(tmp_path: Path, empty_database: Path) -> Project:
    """Its specification is edited, not patched: every process that Ray starts is to have it."""
    folder = tmp_path / "project"
    for name in ("larvae", "sweeps", "analysis"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    tiny = tiny_files.celeba(tmp_path, NUM_IMAGES)
    attributes = (tiny.source / "list_attr_celeba.txt").read_bytes()
    module = folder / "larvae/datasets/celeba.py"
    text = module.read_text()
    for published, generated in (
        ("num_images=202_599", f"num_images={NUM_IMAGES}"),
        (celeba.SPECIFICATION.checksums["list_attr_celeba.txt"][1], hashlib.md5(attributes).hexdigest()),
    ):
        assert text.count(published) == 1
        text = text.replace(published, generated)
    module.write_text(text)
    shutil.copy(empty_database, folder / "mlflow.db")
    return Project(folder, tiny)


@pytest.mark.slow
def test_the_quick_preset_trains_on_photographs_and_its_figure_command_draws(project: Project) -> None:
    """Typed as `--help` says: prepare, sweep, and the command that the sweep prints."""
    prepared = project.succeed("-m", "larvae.datasets", "prepare", "celeba", "--source", str(project.tiny.source))
    assert f"celeba is whole: {NUM_IMAGES} images" in prepared
    output = project.succeed("sweeps/celeba_sweep.py", "--preset", "quick", *FEWER.split())
    study = project.folder / "results/celeba-sweep-quick"
    members = [MemberDirectory(path) for path in (study / "members").iterdir() if path.is_dir()]
    results = [member.read_result() or {} for member in members]
    assert {(r["config"]["tau"], r["config"]["seed"]) for r in results} == {(t, s) for t in (0, 0.05) for s in (0, 1)}
    for result in results:
        assert result["status"] == "finished"
        last = result["history"][-1]
        assert {name for name in last if name == "l2" or name.startswith("rmse_")} == {
            "l2",
            *(f"rmse_{name}" for name in celeba.ATTRIBUTES),
        }
        assert "mig" not in last
    [command] = [line for line in output.splitlines() if line.startswith("Figure: python ")]
    drawn = project.succeed(*shlex.split(command.removeprefix("Figure: python ")))
    assert drawn.splitlines() == ["figures/traversals_celeba.png", "figures/traversals_celeba.pdf"]
    with Image.open(project.folder / "figures/traversals_celeba.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 64
