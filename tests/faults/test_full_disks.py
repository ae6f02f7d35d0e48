"""Disks that are full, or can only be read, below all that a study writes: a line names the file, and nothing is lost.

Each command has a disk of its own, which nothing else sees, under one of its folders.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from larvae.config import MemberConfig
from larvae.datasets import Dataset, cached_path
from larvae.private_folder import private_folder
from tests.commands import ROOT
from tests.faults.disks import small_disk, why_not
from tests.faults.watched_commands import SECONDS, Sweep, errors, run
from tests.sweeps.commands import (
    SCHEDULE,
    STUDY,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    assert_nothing_lost,
    read_results,
    script,
)
from tests.sweeps.processes import running

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

FLAGS = ("--taus", "1", "--gpus-per-trial", "0")
LONG = replace(SCHEDULE, iterations=250, log_every=2, evaluate_every=250)
MEMBER = f"results/{STUDY}/members/{MemberConfig(batch_size=4, tau=1.0).content_hash}"
FULL, READ_ONLY = "No space left on device", "Read-only file system"


@pytest.mark.fault(
    "disk of the results full: at a row, a checkpoint, a member's result, the study's record",
    "a line for each names the file; once there is room the trial goes on by itself, and the ended command when typed "
    "again, as if uninterrupted, bit for bit",
)
def test_a_full_disk_of_results_costs_nothing(
    folder_with_database: Path,
    tmp_path: Path,
    dataset: Dataset,
    alone: Path,
    record_property: Callable[[str, object], None],
) -> None:
    folder, log = folder_with_database, tmp_path / "log.txt"
    record_property("times", 4)
    with small_disk(folder / "results") as disk:
        command, member = disk.command(script(folder, *FLAGS, schedule=LONG), folder), disk.seen(folder / MEMBER)
        command += ["--checkpoint-seconds", "1000"]  # none but at the end: rows come first
        with running(command, folder, log) as process:
            sweep = Sweep(process, member, log)
            sweep.wait_for_start(1)
            with sweep.held():
                disk.fill()
            sweep.let_report()
            sweep.wait_for_fault(1, cannot_be_written(folder / MEMBER / "rows.jsonl"))
            disk.make_room()
            sweep.wait_for_start(2)
            with sweep.held():
                disk.fill(left=1_000_000)  # rows fit
            sweep.wait_for_fault(2, cannot_be_written(folder / MEMBER / "checkpoint.pt"))
            disk.make_room()
            sweep.wait_for_start(3)
            with sweep.held():
                disk.allow_files(3)  # two checkpoints and a picture
            sweep.wait_for_fault(3, cannot_be_written(folder / MEMBER / "result.json"))
            disk.allow_files(1)
            code = process.wait(SECONDS)
        told = log.read_text()
        assert "Traceback" not in told
        assert (code, errors(told)) == (1, [f"error: {cannot_be_written(folder / 'results' / STUDY / 'study.json')}"])
        assert told.count(FULL) == 4, told
        assert disk.partials == []
        disk.allow_files(None)
        code, told = run(command, folder, log)
        assert code == 0, told
        assert disk.partials == []
        assert_all_in_mlflow(disk.seen(folder))
        assert_as_if_uninterrupted(disk.seen(folder), LONG, dataset, alone)


def cannot_be_written(path: Path) -> str:
    return f"`{path}` cannot be written: {FULL}; make room there"


@pytest.mark.fault(
    "disk of MLflow's database full", "told once, training goes on; the same command sends everything, each point once"
)
def test_a_full_disk_of_mlflow_s_database_stops_no_training(
    folder: Path, empty_database: Path, tmp_path: Path, dataset: Dataset, alone: Path
) -> None:
    log, results = tmp_path / "log.txt", tmp_path / "results"
    with small_disk(folder) as disk:
        shutil.copy(empty_database, disk.seen(folder) / "mlflow.db")
        results.mkdir()
        for place in (folder, disk.seen(folder)):
            (place / "results").symlink_to(results)  # which are not on the disk
        command = disk.command(script(folder, *FLAGS, schedule=LONG), folder)
        with running(command, tmp_path, log) as process:
            sweep = Sweep(process, disk.seen(folder / MEMBER), log)
            sweep.wait_for_start(1)
            disk.fill()
            sweep.wait_for("All is trained; waiting for MLflow")
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(SECONDS) == 130
        told = log.read_text()
        assert "Traceback" not in told
        assert told.count("MLflow does not answer") == 1, told
        full = f"MLflow does not answer (database or disk is full: {folder}/mlflow.db); results are kept and sent later"
        assert full in told
        assert [result["status"] for result in read_results(disk.seen(folder)).values()] == ["finished"]
        code, told = run(command, tmp_path, log)
        assert (code, errors(told)) == (2, [f"error: `tracking_uri` must be a writable folder, got `{folder}`: {FULL}"])
        disk.make_room()
        code, told = run(command, tmp_path, log)
        assert code == 0, told
        shutil.copy(disk.seen(folder) / "mlflow.db", folder)  # SQLite resolves links, also that of `seen`
    assert_nothing_lost(folder, LONG, dataset, alone)


PLACES = {
    "storage_path": ("results", "the results"),
    "tracking_uri": ("database", "MLflow's database"),
    "LARVAE_CACHE_DIR": ("cache", "the data cache"),
}
"""Settings of folders, with their names here and in words."""
REFUSED = "refused in a line, with exit code 2, before anything is started or written"


def refused_by(state: str, name: str) -> pytest.param:
    return pytest.param(
        name, state, marks=pytest.mark.fault(f"disk of {PLACES[name][1]} {state} at the start", REFUSED)
    )


@pytest.mark.parametrize(
    ("name", "state"),
    [refused_by("full", "storage_path"), *(refused_by("read-only", name) for name in PLACES)],
)
def test_a_disk_that_takes_nothing_is_told_at_once(folder: Path, tmp_path: Path, name: str, state: str) -> None:
    place = folder / PLACES[name][0]
    flags = {
        "storage_path": (),
        "tracking_uri": ("--tracking-uri", f"sqlite:///{place}/mlflow.db"),
        "LARVAE_CACHE_DIR": (),
    }
    with small_disk(place) as disk:
        if state == "full":
            disk.fill()
        else:
            disk.make_read_only()
        before = sorted(disk.seen(folder).rglob("*"))
        variables = {name: str(place)} if name.isupper() else {}
        command = disk.command(script(folder, *FLAGS, *flags[name]), folder, **variables)
        code, told = run(command, folder, tmp_path / "log.txt")
        reason = FULL if state == "full" else READ_ONLY
        assert (code, errors(told)) == (2, [f"error: `{name}` must be a writable folder, got `{place}`: {reason}"])
        assert "starting Ray" not in told
        assert sorted(disk.seen(folder).rglob("*")) == before


@pytest.mark.fault(
    "disk of the data cache full while a data set is rendered",
    "told in a line, exit code 1; nothing is left of the file, and the next command makes it whole",
)
def test_a_full_disk_of_the_data_cache_keeps_no_part_of_a_file(folder: Path, tmp_path: Path) -> None:
    cache, log = folder / "cache", tmp_path / "log.txt"
    with small_disk(cache, megabytes=420) as disk:
        words = [sys.executable, "-m", "larvae.datasets", "prepare", "dsprites"]
        command = disk.command(words, ROOT, LARVAE_CACHE_DIR=str(cache))
        disk.fill(left=20_000_000)
        code, told = run(command, folder, log)
        [line] = errors(told)
        assert code == 1
        assert line.startswith(f"error: `{cache}/dsprites-rendered-2.h5` cannot be written: {FULL}; give LARVAE_CACHE_")
        assert disk.partials == []
        assert list(disk.seen(cache).glob("*.h5")) == []
        disk.make_room()
        code, told = run(command, folder, log)
        assert code == 0, told
        assert "dsprites is whole" in told


@pytest.mark.fault(
    "disk of Ray's own folder full: at the start, in the midst of training",
    "refused in a line; training goes on, as if uninterrupted, bit for bit",
)
def test_a_full_disk_of_ray_s_own_folder_stops_no_training(
    folder_with_database: Path,
    tmp_path: Path,
    dataset: Dataset,
    alone: Path,
    record_property: Callable[[str, object], None],
) -> None:
    folder, log = folder_with_database, tmp_path / "log.txt"
    record_property("times", 2)
    with tempfile.TemporaryDirectory(prefix="r") as short, small_disk(Path(short) / "d") as disk:  # as sockets' must be
        command = disk.command(script(folder, *FLAGS, schedule=LONG), folder, RAY_TMPDIR=str(disk.folder))
        disk.fill()
        code, told = run(command, folder, log)
        line = f"error: `RAY_TMPDIR` must be a writable folder, got `{private_folder(disk.folder)}/ray`: {FULL}"
        assert (code, errors(told)) == (2, [line])
        disk.make_room()
        with running(command, folder, log) as process:
            Sweep(process, folder / MEMBER, log).wait_for_start(1)
            disk.fill()
            code = process.wait(SECONDS)
        told = log.read_text()
        assert code == 0, told
        assert "Traceback" not in told
    assert_all_in_mlflow(folder)
    assert_as_if_uninterrupted(folder, LONG, dataset, alone)


TRY_LIBRARY = """
from larvae.advice import advice_taken
from larvae.native.library import library
with advice_taken() as advice:
    print(library(), *advice, sep="\\n")
"""


@pytest.mark.fault("disk of compiled code full", "told in a line, with what to set; members train all the same, slower")
def test_a_full_disk_of_compiled_code_keeps_no_member_from_training(
    folder_with_database: Path, tmp_path: Path, dataset: Dataset
) -> None:
    folder, cache, log = folder_with_database, folder_with_database / "cache", tmp_path / "log.txt"
    with small_disk(cache) as disk:
        prepared = cached_path("dsprites")
        for path in (prepared, prepared.with_name(f"{prepared.name}.checked")):
            (disk.seen(cache) / path.name).symlink_to(path)
        disk.fill()
        places = {"LARVAE_CACHE_DIR": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
        code, told = run(disk.command(script(folder, *FLAGS, "--compile"), folder, **places), folder, log)
        assert code == 0, told
        assert told.count("torch.compile does not work on") == told.count("TORCHINDUCTOR_CACHE_DIR") == 1, told
        assert FULL in told
        assert [result["status"] for result in read_results(folder).values()] == ["finished"]
        code, told = run(disk.command([sys.executable, "-c", TRY_LIBRARY], ROOT, **places), folder, log)
        assert (code, told.splitlines()[0]) == (0, "None")
        [line] = told.splitlines()[1:]
        assert line.startswith(f"blocks.cpp cannot be compiled into `{cache}/native`, PyTorch's slower kernels run: ")
        assert FULL in line
        assert disk.partials == []


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(
            state,
            marks=pytest.mark.fault(f"disk of figures {state}", "told in a line, exit code 2; no picture, and no part"),
        )
        for state in ("full", "read-only")
    ],
)
def test_figures_appear_all_or_none(folder: Path, tmp_path: Path, state: str) -> None:
    output = folder / "figures"
    with small_disk(output) as disk:
        if state == "full":
            disk.fill(left=50_000)  # for some of the files
        else:
            disk.make_read_only()
        kept = ROOT / "docs" / "results" / "curve"
        words = [
            sys.executable,
            str(ROOT / "analysis" / "sensitivity.py"),
            "--kept",
            str(kept),
            "--output",
            str(output),
        ]
        code, told = run(disk.command(words, folder), folder, tmp_path / "log.txt")
        [line] = errors(told)
        reason = FULL if state == "full" else READ_ONLY
        assert code == 2
        assert line.startswith(f"error: `output` must be a directory that can be written, got {output}: `{output}/tau_")
        assert f" cannot be written: {reason}; " in line
        assert [path.name for path in disk.seen(output).iterdir() if path.name != ".filler"] == []
