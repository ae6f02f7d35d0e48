"""Bad input ends the command with one line and exit code 2, before anything is written."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.preflight import PreflightOptions
from larvae.errors import InvalidInputError
from sweeps import logs, options, tau_sweep
from tests.sweeps.commands import STUDY, TINY
from tests.sweeps.processes import answering_server, free_port, silent_server

PATIENCE = 15
"""Seconds within which whatever does not answer is given up."""


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message with which the command ends; the folder must stay as it is."""
    before = sorted(folder.rglob("*"))
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tau_sweep.py", *TINY, *arguments])
        assert options.main(tau_sweep.run) == 2
    assert time.monotonic() - started < PATIENCE
    assert sorted(folder.rglob("*")) == before
    printed = capsys.readouterr()
    assert printed.out == ""
    message = re.fullmatch(r"error: (.+)\n", printed.err)
    assert message, printed.err
    return message[1]


# MLflow


def test_tracking_server_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    expected = f"`tracking_uri` must be a running MLflow server, got {uri}: no answer; start one with `mlflow server`"
    assert refusal(folder, capsys, "--tracking-uri", uri).startswith(expected)


def test_tracking_server_that_never_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with silent_server() as port:
        uri = f"http://127.0.0.1:{port}"
        expected = f"`tracking_uri` must be a running MLflow server, got {uri}: no answer; "
        assert refusal(folder, capsys, "--tracking-uri", uri).startswith(expected)


@pytest.fixture
def forbidding_server() -> Iterator[str]:
    """The address of a server that answers 403, as MLflow does to a host that it was not told of."""
    with answering_server(lambda path: (403, b"")) as address:
        yield address


def test_tracking_server_that_refuses(folder: Path, forbidding_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(folder, capsys, "--tracking-uri", forbidding_server)
    assert message.startswith(f"`tracking_uri` must take this user's requests, got {forbidding_server}: answered 403; ")


@pytest.mark.parametrize("uri", ["file:///somewhere/mlruns", "mlruns", "sqlite://mlflow.db", "htp://127.0.0.1:5000"])
def test_tracking_address_of_another_kind(uri: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(folder, capsys, "--tracking-uri", uri)
    assert message == f"`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database URL, got {uri}"


def test_tracking_database_below_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").touch()
    message = refusal(folder, capsys, "--tracking-uri", "sqlite:///file/mlflow.db")
    assert message.startswith("`tracking_uri` must be a writable folder, got ")


def test_tracking_database_that_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.txt").write_text("not a database")
    message = refusal(folder, capsys, "--tracking-uri", "sqlite:///notes.txt")
    assert message.startswith("`tracking_uri` must ")
    assert "sqlite:///notes.txt" in message


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://user:secret@127.0.0.1:1/x", "its driver psycopg is not installed; pip install psycopg2-binary"),
        ("mysql://user:secret@127.0.0.1:1/x", "its driver MySQLdb is not installed; install MySQLdb"),
        ("postgresql+psycopg2://user:secret@127.0.0.1:1/x", 'connection to server at "127.0.0.1", port 1 failed'),
        (
            "postgresql+psycopg2://user:secret@127.0.0.1:port/x",
            "no address of a database; write postgresql+psycopg2://",
        ),
        ("postgresql+none://user:secret@127.0.0.1:1/x", "no driver of that name; pip install psycopg2-binary"),
    ],
)
def test_tracking_database_that_cannot_be_used(
    uri: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(folder, capsys, "--tracking-uri", uri)
    shown = uri.replace(":secret@", "@")
    assert message.startswith(f"`tracking_uri` must be a database that answers, got {shown}: {said}")
    assert "secret" not in message


def test_tracking_database_that_never_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with silent_server() as port:
        message = refusal(folder, capsys, "--tracking-uri", f"postgresql+psycopg2://user@127.0.0.1:{port}/x")
    assert "timeout expired; mend the address or the database, or use sqlite:///mlflow.db" in message


# Files


def test_storage_that_is_an_address(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(folder, capsys, "--storage-path", "s3://bucket/larvae")
    assert message == "`storage_path` must be a folder, on a cluster one that all nodes share, got s3://bucket/larvae"


@pytest.mark.parametrize("content", ["", '{"name": "ti', "[]"])
def test_damaged_record_of_a_study(content: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Path("results") / STUDY / "study.json"
    record.parent.mkdir(parents=True)
    record.write_text(content)
    message = refusal(folder, capsys)
    assert message.startswith(f"`{folder / record}` must be a whole JSON object, but: ")
    assert message.endswith("; delete it, and the study's own command writes it anew")
    with pytest.raises(InvalidInputError, match="must be a whole JSON object"):
        logs.run([])


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ({"storage_path": Path("s3://bucket/larvae")}, "`storage_path` must be a folder, .*, got s3://bucket/larvae"),
        ({"gpus_per_trial": 1.5}, "`gpus_per_trial` must be 0, .*, got 1.5"),
    ],
)
def test_the_preflight_refuses_what_sweeps_refuse(refused: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        _ = PreflightOptions(**refused).demand


@pytest.mark.parametrize("below", ["file", "file/results", "file/deep/results"])
def test_storage_that_is_not_a_folder(below: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").touch()
    message = refusal(folder, capsys, "--storage-path", below)
    assert message == f"`storage_path` must be a writable folder, got `{below}`: Not a directory"


def test_data_file_that_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(folder, capsys, "--data-file", "missing.npz")
    assert message == "the dSprites file must be readable, got `missing.npz`: No such file or directory"


@pytest.mark.parametrize("name", ["dsprites.npz", "dsprites.hdf5"])
def test_data_file_that_is_truncated(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / name).write_bytes(b"PK\x03\x04" + 1000 * b"\0")
    message = refusal(folder, capsys, "--data-file", name)
    assert re.fullmatch(rf"`{name}` must have \w+ \w+, got \w+: truncated or not the published file", message)


def test_data_file_of_another_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dsprites.zip").touch()
    message = refusal(folder, capsys, "--data-file", "dsprites.zip")
    assert message == "a dSprites file must end in one of .npz, .hdf5, .h5, got `dsprites.zip`"


# Ray

COMMAND = """
import sys
from sweeps.driver import connection
from sweeps import options, tau_sweep

connection.CONNECT_SECONDS = 2
sys.exit(options.main(tau_sweep.run))
"""


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
@pytest.mark.parametrize("preset", [[], ["--preset", "quick"]])
def test_clusters_addresses_of_other_kinds(
    address: str, preset: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that Ray would hand to its client, given or in RAY_ADDRESS; with --preset and without."""
    monkeypatch.setattr("tests.sweeps.test_bad_input.TINY", (*TINY[2:], *preset))
    rule = "`address` must be auto or HOST:6379, on a node of the cluster"
    expected = f"{rule}, got {address}: from elsewhere, use `ray job submit`"
    assert refusal(folder, capsys, "--address", address) == expected
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert refusal(folder, capsys, "--address", "auto") == expected


def test_cluster_that_does_not_answer(folder: Path) -> None:
    """One that is not there, and one that accepts and is silent; Ray's own warnings may come before."""
    with silent_server() as silent:
        addresses = [f"127.0.0.1:{port}" for port in (free_port(), silent)]
        commands = [
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, *TINY, "--address", address],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for address in addresses
        ]
        for command, address in zip(commands, addresses, strict=True):
            output, errors = command.communicate(timeout=60)
            assert command.returncode == 2, errors
            assert output == ""
            ours = [line for line in errors.splitlines() if line.startswith("error: ")]
            assert len(ours) == 1
            assert ours[0] == errors.splitlines()[-1]
            assert ours[0].startswith(f"error: `address` must be a running Ray cluster, got {address}: ")
            assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


def test_trial_that_fits_on_no_node(ray_session: None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(folder, capsys, "--cpus-per-trial", "3", "--gpus-per-trial", "0.5")
    assert message == (
        "a trial must fit on one node, got 3 CPUs and 0.5 GPUs where nodes have at most 2 and 2: "
        "lower --cpus-per-trial or --gpus-per-trial"
    )
