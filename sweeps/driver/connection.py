"""Connects to Ray: a cluster that runs already, or one of this machine's own."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import ray
from ray._private import services
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

import larvae
import sweeps
from larvae import allocator
from larvae.errors import InvalidInputError
from sweeps.console.terminal import working
from sweeps.driver.ray_folders import make_own_ray_folder
from sweeps.driver.tokens import VARIABLE as TOKEN_VARIABLE
from sweeps.driver.tokens import find_or_make_token, find_token
from sweeps.driver.workarounds.authentication import set_mode
from sweeps.driver.workarounds.connecting import deadline
from sweeps.driver.workarounds.loopback import on_loopback
from sweeps.driver.workarounds.own_session import in_own_session
from sweeps.study import require_writable

MODE = os.environ["RAY_AUTH_MODE"].lower()
"""Ray's mode of authentication that this process was started with; a cluster that it joins may have another."""
OLDEST_RAY = (2, 59)
ANSWER_SECONDS = 5
CONNECT_SECONDS = 15
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
_PROTECT = "start it anew with RAY_AUTH_MODE=token (docs/security.md)"
_TAKE_TOKEN = "copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN (`ray get-auth-token` there prints it)"
logging.getLogger("ray._private.services").setLevel(logging.CRITICAL)  # what it logs as an error it raises as well

WORKER_ENVIRONMENT = {
    **allocator.ENVIRONMENT,
    "TORCHINDUCTOR_COMPILE_THREADS": "1",  # a trial has its own CPUs and no others
}


def connect(address: str | None) -> None:
    """Join the cluster at `address`, or start Ray on this machine; nothing if that is done already.

    The project's code travels to a cluster's workers. Raises InvalidInputError for addresses of Ray's client, for a
    token that is missing, wrong, or for others to read, and within 15 s when nothing answers there.
    """
    address = _named(address)
    if ray.is_initialized():
        return
    _require_recent_ray()
    if MODE not in ("token", "disabled"):  # Ray would take it for the latter
        raise InvalidInputError(f"`RAY_AUTH_MODE` must be token or disabled, got {MODE}: unset it")
    if address is None:
        with working("starting Ray"):
            start_local(include_dashboard=True, runtime_env={"env_vars": WORKER_ENVIRONMENT})
        return
    control = _control_of(address)
    _take_up_mode(address, control)
    packages = [str(Path(package.__path__[0])) for package in (larvae, sweeps)]
    no_answer = _refusal(address, f"no answer within {CONNECT_SECONDS} s")
    with (
        working(f"joining Ray at {address}"),
        deadline(CONNECT_SECONDS, no_answer),
        on_loopback() if control.startswith("127.") else contextlib.nullcontext(),
    ):
        try:
            ray.init(control, **_QUIET, runtime_env={"env_vars": WORKER_ENVIRONMENT, "py_modules": packages})
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise InvalidInputError(_refusal(address, error)) from None


def start_local(**options: Any) -> None:
    """Start Ray on this machine: nobody else reaches its ports, sockets and files, or could use them without its token.

    options: of `ray.init`. Raises InvalidInputError for a token that is empty, unreadable, or for others to read, and
    OSError where Ray cannot start.
    """
    set_mode(MODE)
    if MODE == "token":
        find_or_make_token()
    else:
        warn(f"RAY_AUTH_MODE is {MODE}: other users of this machine can run code as you; unset it")
    folder = make_own_ray_folder()
    require_writable("RAY_TMPDIR", folder)  # else Ray would wait half a minute for its own files
    with on_loopback(), in_own_session():
        try:
            # "local": else Ray would join, or wait minutes for, whatever cluster this machine last ran.
            ray.init("local", _temp_dir=str(folder), **_QUIET, **options)
        except Exception as error:  # Ray raises whatever kept one of its processes from starting, also `Exception`
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
            advice = f"its logs are below `{folder}`, which needs room: make some, or give RAY_TMPDIR another folder"
            raise OSError(f"Ray cannot start ({reason}); {advice}") from None


def dashboard_url() -> str | None:
    """The address of the current connection's Ray dashboard, if it has one."""
    url = ray.get_runtime_context().gcs_address and ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else None


def has_token() -> bool:
    """Tell whether the Ray of the current connection refuses those without its token."""
    return os.environ["RAY_AUTH_MODE"] == "token"


def warn(line: str) -> None:
    """Tell what does not keep a command from running."""
    print(f"warning: {line}", file=sys.stderr)


def _control_of(address: str) -> str:
    """The address of a cluster's control, HOST:PORT. Raises InvalidInputError.

    For auto Ray itself would take the cluster of any user of this machine, or one that a file names to which all can
    write, and would send it the token.
    """
    if address != "auto":
        try:
            return str(services.canonicalize_bootstrap_address(address, None))
        except (ConnectionError, ValueError) as error:
            raise InvalidInputError(_refusal(address, error)) from None
    own = sorted(set(_own_controls()))
    if len(own) != 1:
        fault = f"you have {len(own)} here: {', '.join(own)}" if own else "you have started none here"
        raise InvalidInputError(_refusal("auto", fault, "give HOST:PORT" if own else ""))
    return own[0]


def _own_controls() -> Iterator[str]:
    """Controls of the clusters whose nodes this user runs on this machine."""
    for process in psutil.process_iter(["name", "uids", "cmdline"]):
        uids = process.info["uids"]
        if process.info["name"] == "raylet" and uids and uids.real == os.getuid():
            words = process.info["cmdline"] or ()
            yield from (word.partition("=")[2] for word in words if word.startswith("--gcs-address="))


def _take_up_mode(address: str, control: str) -> None:
    """Use a token where a cluster asks for one, before Ray does, which asks again and again and tells it in many lines.

    Raises InvalidInputError where the cluster would refuse this process, or does not answer.
    """
    try:
        asks_for_token = not _answers(control, None)
        if not asks_for_token:
            warn(
                f"the Ray cluster at {control} asks for no token: whoever reaches it runs code as its user; {_PROTECT}"
            )
        elif MODE != "token":
            raise InvalidInputError(_refusal(address, "it asks for a token", f"unset RAY_AUTH_MODE, which is {MODE}"))
        else:
            _require_its_token(address, control)
    except ConnectionError as error:
        raise InvalidInputError(_refusal(address, error)) from None
    set_mode("token" if asks_for_token else "disabled")


def _require_its_token(address: str, control: str) -> None:
    token = find_token()
    if token is None:
        raise InvalidInputError(_refusal(address, "it asks for a token, and none is here", _TAKE_TOKEN))
    if not _answers(control, token.value):
        place = token.path or TOKEN_VARIABLE
        raise InvalidInputError(_refusal(address, f"the token in {place} is not its own", _TAKE_TOKEN))


def _answers(control: str, token: str | None) -> bool:
    """Tell whether the control of a cluster takes a question with a token; ConnectionError where nothing answers."""
    identity = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(control, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).CheckAlive
        try:
            ask(gcs_service_pb2.CheckAliveRequest(), timeout=ANSWER_SECONDS, metadata=identity)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise ConnectionError(f"no answer ({error.code().name.lower().replace('_', ' ')})") from None
    return True


def _require_recent_ray() -> None:
    """Raise InvalidInputError for a Ray whose tokens are not what this module relies on."""
    if tuple(map(int, ray.__version__.split(".")[:2])) < OLDEST_RAY:
        oldest = ".".join(map(str, OLDEST_RAY))
        raise InvalidInputError(f"ray must be {oldest} or newer, got {ray.__version__}: pip install 'ray>={oldest}'")


def _refusal(address: str, reason: object, advice: str = "") -> str:
    first_sentence = str(reason).partition("\n")[0].partition(". ")[0].rstrip(".")
    advice = advice or "start one with `ray start --head`, or leave --address out"
    return f"`address` must be a running Ray cluster, got {address}: {first_sentence}; {advice}"


def _named(address: str | None) -> str | None:
    """The address that is meant: for auto that of RAY_ADDRESS, if set, as Ray reads it; None for a Ray of one's own.

    Raises InvalidInputError for ray:// and other addresses that Ray hands to its client: behind one Tune runs on the
    cluster's head, apart from our callbacks, which need a Ray of their own process. So too for `local`, no cluster.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    rule = f"`address` must be auto or HOST:6379, on a node of the cluster, got {address}"
    if address == "local":
        raise InvalidInputError(rule)
    if address and "://" in address:
        raise InvalidInputError(f"{rule}: from elsewhere, use `ray job submit`")
    return address
