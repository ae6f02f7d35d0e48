"""Studies are listed, and removed with their runs in MLflow, but not while a command holds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from larvae.errors import InvalidInputError
from larvae.files import listed
from sweeps import studies
from sweeps.analysis.load import load_members
from sweeps.found_studies import found_studies
from sweeps.study import Study, StudyDirectory
from sweeps.tracking.tracker import Tracker, require_own_experiment
from tests.sweeps.commands import places, tracking_uri


@pytest.fixture
def two(folder_with_database: Path, small_study: Callable[..., Study]) -> Path:
    """A folder with two studies of two members; of `one` a member has ended."""
    folder = folder_with_database
    for name in ("one", "two"):
        study, directory = small_study(name), StudyDirectory(folder / "results" / name)
        directory.write_record(study, {"dsprites": "fingerprint"})
        for member in study.members:
            directory.member(member).path.mkdir(parents=True)
        Tracker(tracking_uri(folder), study, directory, {"dsprites": "fingerprint"}, {}).close("stopped")
    first = small_study("one").members[0]
    StudyDirectory(folder / "results" / "one").member(first).write_result(first, "failed", [], "of an error")
    StudyDirectory(folder / "results" / "two").write_finished()
    return folder


def test_studies_are_listed_with_their_states(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StudyDirectory(two / "results" / "one").locked():
        assert [study.state for study in found_studies(two / "results")] == ["running", "finished"]
    assert studies.run(places(two)) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:6] == ["one", "unfinished", "1", "of", "2", "ended"]
    assert second.split()[:6] == ["two", "finished", "0", "of", "2", "ended"]
    one = next(study for study in found_studies(two / "results") if study.name == "one")
    files = [path for path in (two / "results" / "one").rglob("*") if path.is_file()]
    assert one.size == sum(path.stat().st_size for path in files)


def test_one_is_removed_with_its_runs_and_the_other_stays(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert studies.run([*places(two), "--remove", "one"]) == 1  # nobody is there to answer
    assert (two / "results" / "one").exists()
    with StudyDirectory(two / "results" / "one").locked(), pytest.raises(InvalidInputError, match="another runs"):
        studies.run([*places(two), "--remove", "one", "--yes"])
    assert studies.run([*places(two), "--remove", "one", "--yes"]) == 0
    assert "3 runs, which MLflow keeps as deleted until `mlflow gc`" in capsys.readouterr().out
    assert [study.name for study in found_studies(two / "results")] == ["two"]
    client = MlflowClient(tracking_uri(two))
    assert {experiment.name for experiment in client.search_experiments()} >= {"two"}
    assert "one" not in {experiment.name for experiment in client.search_experiments()}
    experiment = client.get_experiment_by_name("two")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 3


def test_a_folder_that_is_a_link_goes_with_what_it_points_to(two: Path) -> None:
    folder, elsewhere = two / "results" / "one", two / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere, target_is_directory=True)
    assert studies.run([*places(two), "--remove", "one", "--yes"]) == 0
    assert not elsewhere.exists()
    assert not folder.is_symlink()


def test_a_later_study_of_a_removed_ones_name_begins_anew(two: Path, small_study: Callable[..., Study]) -> None:
    """Twice, as MLflow keeps the names of what it keeps as deleted."""
    for taus in ((5.0,), (7.0, 8.0)):
        assert studies.run([*places(two), "--remove", "one", "--yes"]) == 0
        study, directory = small_study("one", taus), StudyDirectory(two / "results" / "one")
        directory.write_record(study, {"dsprites": "fingerprint"})
        directory.member(study.members[0]).path.mkdir(parents=True)
        Tracker(tracking_uri(two), study, directory, {"dsprites": "fingerprint"}, {}).close("stopped")
        assert list(load_members(tracking_uri(two), "one")["tau"]) == list(taus)


def test_runs_of_a_study_whose_folder_is_gone_are_not_taken_for_a_new_ones(two: Path) -> None:
    """Their rows would stand in the way of others of the same iterations."""
    uri, remove_one = tracking_uri(two), [*places(two), "--remove", "one", "--yes"]
    require_own_experiment(uri, "one", is_new=False)
    with pytest.raises(InvalidInputError, match="no runs of, as nothing of it is on disk, got one: give its --storage"):
        require_own_experiment(uri, "one", is_new=True)
    shutil.rmtree(two / "results" / "one")
    assert studies.run(remove_one) == 0
    require_own_experiment(uri, "one", is_new=True)
    with pytest.raises(InvalidInputError, match="`remove` must name a study in"):
        studies.run(remove_one)
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name("two").experiment_id)  # type: ignore[union-attr]
    require_own_experiment(uri, "two", is_new=True)
    assert client.get_experiment_by_name("two") is None


def test_files_that_go_while_they_are_counted_are_left_out(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that trains replaces its checkpoints."""
    whole = [study.size for study in found_studies(two / "results")]

    def listed_before(folder: Path, pattern: str) -> list[Path]:
        return [*listed(folder, pattern), *([folder / ".checkpoint.pt.partial"] if pattern == "**/*" else [])]

    monkeypatch.setattr("sweeps.found_studies.listed", listed_before)
    assert [study.size for study in found_studies(two / "results")] == whole


@pytest.mark.parametrize("name", ["three", "../results", "/dev/null", ""])
def test_no_other_folder_is_removed(two: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^`(remove|study)` must"):
        studies.run([*places(two), "--remove", name, "--yes"])
    assert len(found_studies(two / "results")) == 2
