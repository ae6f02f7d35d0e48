"""Joining a cluster that asks for a token, or for none; and what others see of the Ray that a sweep starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import psutil
import pytest
import ray
from ray._raylet import AuthenticationMode, get_authentication_mode
from ray.core.generated import gcs_service_pb2

from larvae.errors import InvalidInputError
from larvae.private_folder import private_folder
from sweeps.driver import connection
from sweeps.driver.workarounds.authentication import set_mode
from tests.sweeps.processes import listening

TOKEN = "token-of-the-cluster"


@contextmanager
def control(token: str | None) -> Iterator[str]:
    """The address of what answers as a cluster's control does, to those who have a token, or to everybody."""

    def answer(_: bytes, context: Any) -> bytes:
        identity = dict(context.invocation_metadata()).get("authorization")
        if token is not None and identity != f"Bearer {token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return gcs_service_pb2.CheckAliveReply(ray_version=ray.__version__).SerializeToString()

    class Everything(grpc.GenericRpcHandler):
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Everything()])
    port = server.add_insecure_port("0.0.0.0:0")  # Ray makes this machine's own address of 127.0.0.1
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Addresses that Ray is told to join, with the mode that it is in then; it joins none."""
    calls: list[tuple[str, int]] = []
    before = os.environ["RAY_AUTH_MODE"]
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: calls.append((address, get_authentication_mode())))
    yield calls
    set_mode(before)


def test_a_cluster_that_asks_for_its_token_gets_it(
    joined: list[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with control(TOKEN) as address:
        connection.connect(address)
    ((where, mode),) = joined
    assert where.rpartition(":")[2] == address.rpartition(":")[2]
    assert mode == AuthenticationMode.TOKEN
    assert connection.has_token()
    assert capfd.readouterr().err == ""


def test_a_cluster_without_one_is_joined_without_and_told(joined: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    with control(None) as address:
        connection.connect(address)
    ((where, mode),) = joined
    assert where.rpartition(":")[2] == address.rpartition(":")[2]
    assert mode == AuthenticationMode.DISABLED
    assert not connection.has_token()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: the Ray cluster at ")
    assert "asks for no token: whoever reaches it runs code as its user" in line


@pytest.mark.parametrize("token", ["another", ""])
def test_what_does_not_fit_the_clusters_token_is_told_before_ray_is_asked(
    joined: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str
) -> None:
    """A wrong token, none, and a mode without."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    fault = "the token in RAY_AUTH_TOKEN is not its own" if token else "it asks for a token, and none is here"
    with control(TOKEN) as address:
        with pytest.raises(InvalidInputError) as caught:
            connection.connect(address)
        start = f"`address` must be a running Ray cluster, got {address}: {fault}; copy the "
        assert str(caught.value).startswith(start)
        monkeypatch.setattr(connection, "MODE", "disabled")
        with pytest.raises(InvalidInputError, match="unset RAY_AUTH_MODE, which is disabled"):
            connection.connect(address)
    assert joined == []
    assert list(tmp_path.iterdir()) == []


def test_auto_is_a_cluster_of_ones_own_and_no_other(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would ask that of any user, and send it the token."""

    def raylet(uid: int, control: str) -> SimpleNamespace:
        words = ["raylet", "--port=1", f"--gcs-address={control}"]
        return SimpleNamespace(info={"name": "raylet", "uids": SimpleNamespace(real=uid), "cmdline": words})

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    nodes: list[SimpleNamespace] = []
    monkeypatch.setattr(psutil, "process_iter", lambda names: nodes)
    with control("token-of-another-user") as theirs, control(TOKEN) as ours:
        nodes.append(raylet(os.getuid() + 1, theirs))
        with pytest.raises(InvalidInputError, match="got auto: you have started none here"):
            connection.connect("auto")
        nodes.append(raylet(os.getuid(), ours))
        connection.connect("auto")
        assert joined == [(ours, AuthenticationMode.TOKEN)]
        nodes.append(raylet(os.getuid(), "10.0.0.5:6379"))
        with pytest.raises(InvalidInputError, match=f"you have 2 here: 10.0.0.5:6379, {ours}; give HOST:PORT"):
            connection.connect("auto")
        monkeypatch.setenv("RAY_ADDRESS", ours)
        connection.connect("auto")
    assert len(joined) == 2
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(InvalidInputError, match="must be auto or HOST:6379, on a node of the cluster, got local"):
        connection.connect("auto")


def test_a_local_ray_is_new_enough_and_without_tokens_only_by_the_users_choice_which_is_told(
    joined: list[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ray would take an unknown mode for none."""
    monkeypatch.setattr(connection, "MODE", "tokens")
    with pytest.raises(InvalidInputError, match="`RAY_AUTH_MODE` must be token or disabled, got tokens"):
        connection.connect(None)
    monkeypatch.setattr(connection, "MODE", "disabled")
    with monkeypatch.context() as patch:
        patch.setattr(ray, "__version__", "2.58.1")
        with pytest.raises(
            InvalidInputError, match=r"ray must be 2\.59 or newer, got 2\.58\.1: pip install 'ray>=2\.59'"
        ):
            connection.connect(None)
    assert joined == []
    connection.connect(None)
    assert joined == [("local", AuthenticationMode.DISABLED)]
    assert capfd.readouterr().err.startswith("warning: RAY_AUTH_MODE is disabled: other users of this machine can run")


def test_a_ray_that_cannot_start_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Exception("\nThe last 20 lines of dashboard.log:\nOSError: No space left on device")  # as Ray does

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(OSError, match=r"^Ray cannot start \(The last 20 lines of dashboard.log:\); .* below `.*/ray`"):
        connection.start_local()


def test_the_own_ray_listens_on_loopback_asks_for_its_token_and_shows_its_files_to_nobody(
    ray_session: None, ray_token: str
) -> None:
    places = listening(psutil.Process())
    assert len(places) >= 5
    assert {address for address, _ in places} == {"127.0.0.1"}
    gcs = ray.get_runtime_context().gcs_address
    assert not connection._answers(gcs, None)
    assert not connection._answers(gcs, "another")
    assert connection._answers(gcs, ray_token)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    assert session.is_relative_to(private_folder())
    assert private_folder().stat().st_mode & 0o077 == 0
