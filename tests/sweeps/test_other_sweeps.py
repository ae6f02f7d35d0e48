"""The sweeps over z dimensions and label rates, on real (tiny) training, and what all three scripts share."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import ray
from mlflow import MlflowClient
from PIL import Image

from larvae import datasets
from larvae.config import DEFAULT_GAMMA_TC, MemberConfig
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError
from sweeps import label_rate_sweep, options, runner, tau_sweep, z_dim_sweep
from sweeps.options import StudyOptions
from sweeps.study import Study
from sweeps.trial.trainable import MemberTrainable, PreparedFile, TrialSettings
from tests.sweeps.commands import SCHEDULE, STUDY, TINY, places, read_results, read_runs, schedule_flags, tracking_uri

ROOT = Path(__file__).parents[2]
SWEEPS = (tau_sweep, z_dim_sweep, label_rate_sweep)
FEW_FLAGS = ("--label-rates", "0.01", "--gpus-per-trial", "0")


def run(script: ModuleType, folder: Path, *flags: str) -> int:
    """Run a sweep in this process, whose handlers of signals stay as they are; the exit code."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return script.run([*TINY, *schedule_flags(SCHEDULE), *places(folder), *FEW_FLAGS, *flags])
    finally:
        signal.signal(signal.SIGTERM, handler)


def planned(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *flags: str) -> Study:
    """The study that a command line would run."""
    studies: list[Study] = []

    def run_study(study: Study, options: StudyOptions) -> int:
        assert all(isinstance(path, Path) for path in options.data_files.values())
        studies.append(study)
        return 0

    monkeypatch.setattr(runner, "run_study", run_study)
    assert script.run(["--preset", "quick", *flags]) == 0
    return studies[0]


@pytest.mark.parametrize("script", SWEEPS, ids=lambda script: script.__name__)
def test_presets_name_themselves_their_studies_and_a_figure(script: ModuleType) -> None:
    assert list(script.PRESETS) == ["quick", "laptop", "paper"]
    assert len({preset.study for sweep in SWEEPS for preset in sweep.PRESETS.values()}) == 3 * len(SWEEPS)
    for name, preset in script.PRESETS.items():
        assert preset.preset == name
        assert (ROOT / shlex.split(preset.figure_command)[0]).is_file()
        assert "dci" in preset.final_metrics or name == "quick"


@pytest.mark.parametrize("script", SWEEPS, ids=lambda script: script.__name__)
@pytest.mark.parametrize("preset", ["quick", "laptop", "paper"])
def test_every_preset_is_a_study(script: ModuleType, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = planned(script, monkeypatch, "--preset", preset)
    assert len({member.content_hash for member in study.members}) == len(study.members) > 1
    assert len({study.label(member) for member in study.members}) == len(study.members)


def test_paper_presets_are_the_papers_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    z_dims = planned(z_dim_sweep, monkeypatch, "--preset", "paper").members
    assert {m.z_dim for m in z_dims} == {0, 1, 5, 10, 50}
    assert {m.label_rate for m in z_dims} == {0.01, 0.02}
    assert len(z_dims) == 5 * 2 * 6
    rates = planned(label_rate_sweep, monkeypatch, "--preset", "paper").members
    assert {m.dataset for m in rates} == {"dsprites", "shapes3d", "isaac3d"}
    assert {m.label_rate for m in rates} == {0.01, 0.015, 0.02, 0.025}
    assert {(m.regulariser, m.tau) for m in rates} == {(r, tau) for r in DEFAULT_GAMMA_TC for tau in (0, 1)}
    assert len(rates) == 3 * 4 * 3 * 2 * 6


def test_each_regulariser_has_its_own_gamma(monkeypatch: pytest.MonkeyPatch) -> None:
    members = planned(label_rate_sweep, monkeypatch).members
    assert {(m.regulariser, m.gamma_tc) for m in members} == set(DEFAULT_GAMMA_TC.items())
    for regulariser, gamma_tc in DEFAULT_GAMMA_TC.items():
        flags = ("--regulariser", regulariser)
        assert {m.gamma_tc for m in planned(tau_sweep, monkeypatch, *flags).members} == {gamma_tc}
        assert {m.gamma_tc for m in planned(tau_sweep, monkeypatch, *flags, "--gamma-tc", "0").members} == {0}


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        (z_dim_sweep, ["--z-dims", "-1"], "`z_dim` must be >= 0, got -1"),
        (z_dim_sweep, ["--z-dims"], "`z_dim` must have at least one value, got none"),
        (label_rate_sweep, ["--tau", "0"], "`tau` must be > 0, to be compared with τ = 0, got 0"),
        (label_rate_sweep, ["--data-file", "mnist=x.h5"], "`data_file` must be one of dsprites, got mnist"),
        (label_rate_sweep, ["--data-file", "dsprites"], "`data_file` must be NAME=PATH, got dsprites"),
        (label_rate_sweep, ["--datasets", "mnist"], f"`dataset` must be one of {', '.join(datasets.SPECIFICATIONS)}"),
        (label_rate_sweep, ["--regularisers", "dip"], "`regulariser` must be one of beta_vae, beta_tcvae, factor_vae"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(
    script: ModuleType, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        planned(script, monkeypatch, *arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("ray_session")
def test_data_set_that_is_not_prepared_is_refused_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--preset", "quick", *places(folder), "--datasets", "dsprites", "shapes3d"]
    monkeypatch.setattr("sys.argv", ["label_rate_sweep.py", *flags])
    assert options.main(label_rate_sweep.run) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "python -m larvae.datasets prepare shapes3d" in error
    assert error.count("\n") == 1
    assert not (folder / "results").exists()


@pytest.mark.usefixtures("ray_session")
def test_one_study_trains_on_several_data_sets(folder_with_database: Path) -> None:
    """A trial's process goes from one data set to the other; every member leaves its traversals."""
    folder = folder_with_database
    names = ("dsprites", "shapes3d-rendered")
    flags = ("--datasets", *names, "--regularisers", "beta_vae", "factor_vae", "--seeds", "1")
    assert run(label_rate_sweep, folder, *flags) == 0
    results = read_results(folder)
    members = [MemberConfig(**result["config"]) for result in results.values()]
    assert {(m.dataset, m.regulariser, m.tau) for m in members} == {
        (d, r, tau) for d in names for r in ("beta_vae", "factor_vae") for tau in (0, 1)
    }
    runs = read_runs(folder)
    assert {run.status for run in runs.values()} == {"FINISHED"}
    assert {run.tags["larvae.fingerprint"] for run in runs.values() if "larvae.member" in run.tags} == {
        datasets.open_dataset(name, datasets.prepare(name)).fingerprint for name in names
    }
    client = MlflowClient(tracking_uri(folder))
    experiment = client.get_experiment_by_name(STUDY)
    assert experiment is not None
    for run_info in client.search_runs([experiment.experiment_id], filter_string="tags.`larvae.role` = 'member'"):
        picture = Path(run_info.data.tags["larvae.directory"]) / "traversal.png"
        logged = client.download_artifacts(run_info.info.run_id, "traversal.png", str(folder))
        assert Path(logged).read_bytes() == picture.read_bytes()
        assert Image.open(logged).format == "PNG"


@pytest.mark.usefixtures("ray_session")
def test_z_dimensions_are_trained(folder_with_database: Path) -> None:
    folder = folder_with_database
    assert run(z_dim_sweep, folder, "--z-dims", "0", "3", "--seeds", "1", "--regulariser", "factor_vae") == 0
    results = [MemberConfig(**result["config"]) for result in read_results(folder).values()]
    assert {(m.z_dim, m.tau, m.regulariser, m.gamma_tc) for m in results} == {
        (z_dim, 1, "factor_vae", 10) for z_dim in (0, 3)
    }


def test_trial_refuses_images_that_are_not_the_studys(dataset: Dataset, tmp_path: Path) -> None:
    trial = MemberTrainable.__new__(MemberTrainable)
    trial.datasets = {}
    for fingerprint in (dataset.fingerprint, "another renderer's"):
        trial.settings = TrialSettings(SCHEDULE, tmp_path, {}, {"dsprites": fingerprint}, cpus=1, gpus=0, compile=False)
        if fingerprint == dataset.fingerprint:
            assert trial._dataset("dsprites").fingerprint == fingerprint
            trial.datasets.clear()
        else:
            with pytest.raises(InvalidInputError, match="must hold the study's images, another renderer's, got"):
                trial._dataset("dsprites")


@pytest.mark.usefixtures("ray_session")
def test_prepared_file_reaches_a_node_that_lacks_it(
    dataset: Dataset, cache_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only such a node: where the driver's file is, with these images, it is used as it is."""
    path = cache_directory / "dsprites-rendered-2.h5"
    content = ray.put(np.fromfile(path, np.uint8))
    assert PreparedFile(path, content, dataset.fingerprint).on_this_node("dsprites") == path
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path))
    sent = PreparedFile(tmp_path / "elsewhere.h5", content, dataset.fingerprint).on_this_node("dsprites")
    assert sent == tmp_path / f"dsprites-{dataset.fingerprint[:12]}.h5"
    assert datasets.open_dataset("dsprites", sent).fingerprint == dataset.fingerprint
