from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from larvae.config import FORMAT, MemberConfig, Schedule
from larvae.errors import InvalidInputError
from larvae.files import save_json
from sweeps.study import Study, StudyDirectory, grid, require_writable

Build = Callable[..., Study]


def test_grid_holds_every_combination_once_last_value_fastest() -> None:
    swept = {"seed": (0, 1), "tau": (0.0, 5.0, 5.0)}
    study = grid("name", {"z_dim": 2}, swept, Schedule(iterations=1, log_every=1, evaluate_every=1))
    assert [(m.seed, m.tau, m.z_dim) for m in study.members] == [(0, 0, 2), (0, 5, 2), (1, 0, 2), (1, 5, 2)]
    assert [study.label(member) for member in study.members[:2]] == ["tau=0 seed=0", "tau=5 seed=0"]


def test_members_are_unfinished_until_they_reach_the_studys_end(
    small_study: Build, study_directory: StudyDirectory
) -> None:
    study = small_study("name", taus=(0.0, 1.0, 5.0))
    finished, failed, untouched = study.members
    row = {"iteration": 4, "mig": 0.1, "l2": 0.5}
    study_directory.member(finished).write_result(finished, "finished", [row])
    study_directory.member(failed).write_result(failed, "failed", [], "NaN")
    assert study_directory.unfinished(study) == [failed, untouched]
    raised = dataclasses.replace(study, schedule=dataclasses.replace(study.schedule, iterations=8))
    assert study_directory.unfinished(raised) == [finished, failed, untouched]


def test_study_goes_on_with_more_and_refuses_what_would_not_belong_into_one_figure(
    small_study: Build, study_directory: StudyDirectory
) -> None:
    study, images = small_study("name", iterations=8), {"dsprites": "aaaa"}
    study_directory.require_going_on(study, images)
    study_directory.write_record(study, images)
    study_directory.require_going_on(small_study("name", taus=(0.0, 1.0, 9.0), iterations=12), images)
    refused = {
        "images of dsprites": (study, {"dsprites": "bbbb"}),
        "iterations": (small_study("name", iterations=4), images),
        "batch_size": (dataclasses.replace(study, fixed={"batch_size": 8}), images),
        "evaluation_size": (with_schedule(study, evaluation_size=100), images),
        "final_metrics": (with_schedule(study, final_metrics=("l2",)), images),
    }
    for change, arguments in refused.items():
        with pytest.raises(InvalidInputError, match=f"{change}.*got .*give another --study") as error:
            study_directory.require_going_on(*arguments)
        assert "\n" not in str(error.value)
    record = study_directory.read_record() or {}
    save_json(study_directory.path / "study.json", record | {"fixed": {}})  # as if it had been left out
    study_directory.require_going_on(study, images)
    with pytest.raises(InvalidInputError, match="keeps its batch_size"):
        study_directory.require_going_on(dataclasses.replace(study, fixed={"batch_size": 8}), images)
    save_json(study_directory.path / "study.json", {"format": FORMAT + 1})
    rule = rf"was written in format {FORMAT + 1}, whose settings mean something else in {FORMAT}: give another --study$"
    with pytest.raises(InvalidInputError, match=rule):
        study_directory.require_going_on(study, images)


def test_a_setting_that_was_given_is_given_again(study_directory: StudyDirectory) -> None:
    """Left out, members would have their own defaults, beside others of one figure."""
    swept = {"seed": (0,), "regulariser": ("beta_vae", "beta_tcvae")}
    defaults, given = (
        grid("name", fixed, swept, Schedule(iterations=8)) for fixed in ({}, {"gamma_tc": 4.0, "label_seed": 5})
    )
    study_directory.write_record(given, {})
    with pytest.raises(InvalidInputError, match=r"keeps its gamma_tc, but .* has 4.0, got none: give it again"):
        study_directory.require_going_on(defaults, {})
    kept = grid("name", {"gamma_tc": 4.0}, swept, Schedule(iterations=8))
    with pytest.raises(InvalidInputError, match=r"keeps its label_seed, but .* has 5, got none"):
        study_directory.require_going_on(kept, {})
    varied = grid("name", {"gamma_tc": 4.0}, swept | {"label_seed": (5, 6)}, Schedule(iterations=8))
    study_directory.require_going_on(varied, {})
    one = grid("name", {"regulariser": "beta_tcvae", "label_seed": 5}, {"seed": (0,)}, Schedule(iterations=8))
    study_directory.write_record(one, {})
    both = grid("name", {"label_seed": 5}, swept, Schedule(iterations=8))
    study_directory.require_going_on(both, {})  # β-VAE is added, with a γ of its own


def test_a_search_keeps_what_it_was_given(study_directory: StudyDirectory) -> None:
    def search(**fixed: object) -> Study:
        return Study("name", (), Schedule(iterations=8), fixed=fixed, varied=("tau", "seed"))

    study_directory.write_record(search(space="tau=0:1", label_seed=5), {})
    study_directory.require_going_on(search(space="tau=0:1", label_seed=5), {})
    with pytest.raises(InvalidInputError, match="keeps its label_seed"):
        study_directory.require_going_on(search(space="tau=0:1"), {})


def with_schedule(study: Study, **changes: object) -> Study:
    return dataclasses.replace(study, schedule=dataclasses.replace(study.schedule, **changes))  # type: ignore[arg-type]


def test_one_process_at_a_time_holds_a_study(study_directory: StudyDirectory) -> None:
    """The lock is a file's, so that another process need not be a child of this one."""
    holder = f"""
import sys
from pathlib import Path
from sweeps.study import StudyDirectory
with StudyDirectory(Path({str(study_directory.path)!r})).locked():
    print("held", flush=True)
    sys.stdin.read()
"""
    with study_directory.locked():
        assert study_directory.path.is_dir()
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InvalidInputError, match=f"one process at a time runs a study.*process {other.pid}"):
            study_directory.require_free()
        other.communicate("")
    with study_directory.locked():
        pass


def test_writable_folders_are_tried_and_left_as_they_were(tmp_path: Path) -> None:
    require_writable("storage_path", tmp_path / "made" / "later")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="`storage_path` must be a writable folder, got"):
        require_writable("storage_path", tmp_path / "file" / "below")


def test_a_full_disk_makes_files_and_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(InvalidInputError, match=r"got `.*`: No space left on device$"):
        require_writable("storage_path", tmp_path)


def test_a_study_is_unfinished_from_its_beginning_to_a_good_end(
    small_study: Build, study_directory: StudyDirectory
) -> None:
    assert not study_directory.is_unfinished
    study_directory.write_record(small_study("name"), {}, "paper")
    assert study_directory.is_unfinished
    study_directory.write_finished()
    assert not study_directory.is_unfinished
    study_directory.write_record(small_study("name", iterations=8), {})  # to a raised end, say
    assert study_directory.is_unfinished
    assert (study_directory.read_record() or {})["preset"] == "paper"


def test_members_and_data_sets_of_earlier_commands_stay_on_record(
    small_study: Build, study_directory: StudyDirectory
) -> None:
    earlier, later = small_study("name", taus=(0.0, 1.0)), small_study("name", taus=(0.1234561, 0.1234562))
    study_directory.write_record(earlier, {"dsprites": "aaaa"})
    study_directory.write_record(later, {"shapes3d-rendered": "bbbb"})
    record = json.loads((study_directory.path / "study.json").read_text())
    configs = {name: MemberConfig(**member["config"]) for name, member in record["members"].items()}
    assert configs == {member.content_hash: member for member in (*earlier.members, *later.members)}
    assert record["fingerprints"] == {"dsprites": "aaaa", "shapes3d-rendered": "bbbb"}
