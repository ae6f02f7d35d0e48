"""Bad input ends the command with one line and exit code 2, before anything is written."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.preflight import PreflightOptions
from larvae.errors import InvalidInputError
from sweeps import logs, options, tau_sweep
from sweeps.tracking import database
from tests.sweeps.commands import STUDY, TINY, without_phases
from tests.sweeps.processes import answering_server, free_port, silent_server

Refusal = Callable[..., str]


@pytest.fixture
def refusal(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """The message with which the command ends; the folder must stay as it is."""

    def run(*arguments: str) -> str:
        before = sorted(folder.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["tau_sweep.py", *TINY, *arguments])
        assert options.main(tau_sweep.run) == 2
        assert sorted(folder.rglob("*")) == before
        printed = capsys.readouterr()
        assert without_phases(printed.out) == ""
        message = re.fullmatch(r"error: (.+)\n", printed.err)
        assert message, printed.err
        return message[1]

    return run


def test_tracking_servers_that_are_not_there_or_refuse(refusal: Refusal) -> None:
    """One that answers 403, as MLflow does to a host that it was not told of."""
    uri = f"http://127.0.0.1:{free_port()}"
    expected = f"`tracking_uri` must be a running MLflow server, got {uri}: no answer; start one with `mlflow server`"
    assert refusal("--tracking-uri", uri).startswith(expected)
    with answering_server(lambda path: (403, b"")) as uri:
        expected = f"`tracking_uri` must take this user's requests, got {uri}: answered 403; "
        assert refusal("--tracking-uri", uri).startswith(expected)


def test_tracking_that_never_answers_is_given_up(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 2)  # the least that PostgreSQL's library takes
    with silent_server() as port:
        message = refusal("--tracking-uri", f"postgresql+psycopg2://user@127.0.0.1:{port}/x")
        assert "timeout expired; mend the address or the database, or use sqlite:///mlflow.db" in message


@pytest.mark.slow
def test_tracking_server_that_never_answers(refusal: Refusal) -> None:
    with silent_server() as port:
        uri = f"http://127.0.0.1:{port}"
        expected = f"`tracking_uri` must be a running MLflow server, got {uri}: no answer; "
        assert refusal("--tracking-uri", uri).startswith(expected)


def test_tracking_databases_that_cannot_be_used_are_told_without_their_passwords(
    refusal: Refusal, folder: Path
) -> None:
    (folder / "notes.txt").write_text("not a database")
    for uri in ("file:///somewhere/mlruns", "sqlite://mlflow.db"):
        rule = "`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database URL"
        assert refusal("--tracking-uri", uri) == f"{rule}, got {uri}"
    below = refusal("--tracking-uri", "sqlite:///notes.txt/mlflow.db")
    assert below.startswith("`tracking_uri` must be a writable folder, got ")
    none = refusal("--tracking-uri", "sqlite:///notes.txt")
    assert none == "`tracking_uri` must name an SQLite database, or none yet, got sqlite:///notes.txt"
    for kind, said in (
        ("postgresql://{}127.0.0.1:1/x", "its driver psycopg is not installed; pip install psycopg2-binary"),
        ("mysql://{}127.0.0.1:1/x", "its driver MySQLdb is not installed; install MySQLdb"),
        ("postgresql+psycopg2://{}127.0.0.1:1/x", 'connection to server at "127.0.0.1", port 1 failed'),
        ("postgresql+psycopg2://{}127.0.0.1:port/x", "no address of a database; write postgresql+psycopg2://"),
        ("postgresql+none://{}127.0.0.1:1/x", "no driver of that name; pip install psycopg2-binary"),
    ):
        message = refusal("--tracking-uri", kind.format("user:secret@"))
        shown = kind.format("user@")
        assert message.startswith(f"`tracking_uri` must be a database that answers, got {shown}: {said}")
        assert "secret" not in message


@pytest.mark.parametrize("content", ["", '{"name": "ti', "[]"])
def test_damaged_record_of_a_study(content: str, folder: Path, refusal: Refusal) -> None:
    record = Path("results") / STUDY / "study.json"
    record.parent.mkdir(parents=True)
    record.write_text(content)
    message = refusal()
    assert message.startswith(f"`{folder / record}` must be a whole JSON object, but: ")
    assert message.endswith("; delete it, and the study's own command writes it anew")
    with pytest.raises(InvalidInputError, match="must be a whole JSON object"):
        logs.run([])


def test_the_preflight_refuses_what_sweeps_refuse() -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"storage_path": Path("s3://bucket/larvae")}, "`storage_path` must be a folder, .*, got s3://bucket/larvae"),
        ({"gpus_per_trial": 1.5}, "`gpus_per_trial` must be 0, .*, got 1.5"),
    ]
    for fields, message in refused:
        with pytest.raises(InvalidInputError, match=message):
            PreflightOptions(**fields).require_valid()


def test_storage_and_data_files_that_are_none(folder: Path, refusal: Refusal) -> None:
    (folder / "file").touch()
    for below in ("file", "file/deep/results"):
        message = refusal("--storage-path", below)
        assert message == f"`storage_path` must be a writable folder, got `{below}`: Not a directory"
    message = refusal("--data-file", "missing.npz")
    assert message == f"a file of dSprites must be readable, got `{folder}/missing.npz`: No such file or directory"
    (folder / "dsprites.zip").touch()
    message = refusal("--data-file", "dsprites.zip")
    assert message == f"a file of dSprites must end in .npz, .hdf5, .h5, got `{folder}/dsprites.zip`"
    for name in ("dsprites.npz", "dsprites.hdf5"):
        (folder / name).write_bytes(b"PK\x03\x04" + 1000 * b"\0")
        message = refusal("--data-file", name)
        rule = rf"`{folder}/{name}` must have \w+ \w+, got \w+: truncated or not the published file"
        assert re.fullmatch(rule, message)


# Ray

COMMAND = """
import sys
from sweeps.driver import connection
from sweeps import options, tau_sweep

connection.CONNECT_SECONDS = 2
sys.exit(options.main(tau_sweep.run))
"""


def test_clusters_addresses_of_other_kinds(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that Ray would hand to its client, given or in RAY_ADDRESS; with --preset and without."""
    for address in ("ray://127.0.0.1:10001", "http://127.0.0.1:8265"):
        rule = "`address` must be auto or HOST:6379, on a node of the cluster"
        expected = f"{rule}, got {address}: from elsewhere, use `ray job submit`"
        for words in (TINY, TINY[2:]):
            monkeypatch.setattr("tests.sweeps.test_bad_input.TINY", words)
            assert refusal("--address", address) == expected
        with monkeypatch.context() as patch:
            patch.setenv("RAY_ADDRESS", address)
            assert refusal("--address", "auto") == expected


@pytest.mark.slow
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
            output, errors = command.communicate(timeout=300)
            assert (command.returncode, output) == (2, ""), errors
            ours = [line for line in errors.splitlines() if line.startswith("error: ")]
            assert ours == errors.splitlines()[-1:]
            assert ours[0].startswith(f"error: `address` must be a running Ray cluster, got {address}: ")
            assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


def test_trial_that_fits_on_no_node(ray_session: None, refusal: Refusal) -> None:
    message = refusal("--cpus-per-trial", "3", "--gpus-per-trial", "0.5")
    assert message == (
        "a trial must fit on one node, got 3 CPUs and 0.5 GPUs where nodes have at most 2 and 2: "
        "lower --cpus-per-trial or --gpus-per-trial"
    )
