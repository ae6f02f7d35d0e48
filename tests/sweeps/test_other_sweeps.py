"""Label rates, regularisers and data sets in one study, on real (tiny) training; command lines are in test_options."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from larvae import datasets
from larvae.config import MemberConfig
from sweeps import label_rate_sweep, options
from sweeps.tracking.addresses import read_place
from tests.sweeps.commands import SCHEDULE, STUDY, TINY, places, read_results, read_runs, schedule_flags, tracking_uri


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


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_one_study_trains_on_several_data_sets(folder_with_database: Path) -> None:
    """Three members a trial; a trial's process goes from one data set to the other; all leave their traversals."""
    folder = folder_with_database
    names = ("dsprites", "shapes3d-rendered")
    flags = ("--datasets", *names, "--regularisers", "beta_vae", "factor_vae", "--seeds", "1", "--z-dim", "0")
    more = ("--label-rates", "0.01", "--gpus-per-trial", "0", "--members-per-trial", "3")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert label_rate_sweep.run([*TINY, *schedule_flags(SCHEDULE), *places(folder), *flags, *more]) == 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    members = [MemberConfig(**result["config"]) for result in read_results(folder).values()]
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
        picture = Path(read_place(run_info.data.tags["larvae.directory"], tracking_uri(folder))) / "traversal.png"
        logged = client.download_artifacts(run_info.info.run_id, "traversal.png", str(folder))
        assert Path(logged).read_bytes() == picture.read_bytes()
        assert Image.open(logged).format == "PNG"
