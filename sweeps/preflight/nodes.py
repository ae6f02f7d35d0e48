"""A node's account of itself. Runs on that node, whatever is installed there: only the standard library is needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from sweeps.tracking.addresses import is_server

PACKAGES = ("torch", "ray", "numpy")
"""Packages whose versions results and messages depend on."""
NEEDED = (
    *PACKAGES,
    *("filelock", "h5py", "pillow", "platformdirs", "pooch", "requests", "rich", "scikit-learn", "scipy", "urllib3"),
)
"""Packages, as pip names them, that a trial imports."""
SOURCES = (".py", ".cpp", ".h")
"""Kinds of files that the project's code is in."""
DRIVERS_FILE = "driver"
SEEN_SECONDS = 3.0
"""Seconds that another node's file may take to appear: shared file systems remember for a while what is not there."""
ANSWER_SECONDS = 5.0


class Question(NamedTuple):
    """A question to a node."""

    rendezvous: Path
    """Folder below the shared storage where each node leaves a file."""
    token: str
    """Content of the driver's file there."""
    tracking_uri: str
    prepared: tuple[str, ...]
    """Names of the prepared files of the data sets, in the node's cache."""
    wants_gpus: bool
    """True if the node's GPUs are to be looked at, which takes a second or two."""


class Gpu(NamedTuple):
    """A GPU as PyTorch sees it."""

    name: str
    memory: int
    """Memory in bytes."""
    capability: str
    """Capability, such as `sm_70`."""
    is_supported: bool
    """True if this build of PyTorch has code for it."""


class Facts(NamedTuple):
    """The answer of a node."""

    host: str
    python: str
    packages: dict[str, str]
    """Installed versions by package; those of NEEDED that are missing are left out."""
    code: str
    """Digest of the project's code that its workers run."""
    storage: str
    """Fault of the shared storage; empty where there is none."""
    cache: str
    """Fault of the cache of data sets; empty where there is none."""
    prepared: tuple[str, ...]
    """Prepared files that it has."""
    free_bytes: int
    """Free bytes of the disk that holds the cache."""
    tracking: str
    """Fault of the tracking server; empty where there is none, or no server is asked."""
    gpus: tuple[Gpu, ...]


class Clock(NamedTuple):
    """The times when a node began and ended to answer, by its own clock, and the files that it has not seen."""

    began: float
    ended: float
    unseen: tuple[str, ...]


def tell(question: Question, name: str, cache: Path | None = None) -> Facts:
    """Answer a question, and leave a file `name` at the rendezvous.

    cache: where data sets lie. Left out, as this node's environment says.
    """
    folder = cache or _cache_directory()
    return Facts(
        host=platform.node(),
        python=platform.python_version(),
        packages={package: version for package in NEEDED if (version := _version(package))},
        code=code_digest(),
        storage=_leave_file(question, name),
        cache=_cache_fault(folder),
        prepared=tuple(file for file in question.prepared if (folder / file).exists()),
        free_bytes=shutil.disk_usage(_nearest(folder)).free,
        tracking=tracking_fault(question.tracking_uri),
        gpus=tuple(_gpus()) if question.wants_gpus else (),
    )


def look(rendezvous: Path, names: Sequence[str]) -> Clock:
    """Look for files that others have left."""
    began, deadline = time.time(), time.monotonic() + SEEN_SECONDS
    unseen = [name for name in names if not _appears(rendezvous / name, name, deadline)]
    return Clock(began, time.time(), tuple(unseen))


def code_digest() -> str:
    """Digest of the project's sources that trials run, as this process finds them: Python, and the C++ they compile."""
    digest = hashlib.sha256()
    for package in ("larvae", "sweeps"):
        for file in _sources(package):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _sources(package: str) -> Iterable[Path]:
    found = util.find_spec(package)
    for place in (found and found.submodule_search_locations) or ():
        files = [file for file in Path(place).rglob("*") if file.suffix in SOURCES]
        yield from sorted(files, key=lambda file: file.relative_to(place))


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _leave_file(question: Question, name: str) -> str:
    """Read the driver's file and write one's own; what went wrong."""
    deadline = time.monotonic() + SEEN_SECONDS
    if not _appears(question.rendezvous / DRIVERS_FILE, question.token, deadline):
        return "does not show the file that the driver wrote there"
    try:
        (question.rendezvous / name).write_text(name)
    except OSError as error:
        return f"cannot be written: {error.strerror or error}"
    return ""


def _appears(file: Path, content: str, deadline: float) -> bool:
    """Tell whether a file of some content is there, or appears until a deadline."""
    while True:
        with contextlib.suppress(OSError):
            if file.read_text() == content:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _cache_directory() -> Path:
    if given := os.environ.get("LARVAE_CACHE_DIR"):
        return Path(given)
    try:
        import platformdirs
    except ImportError:  # told as a missing package
        return Path.home()
    return Path(platformdirs.user_cache_dir("larvae"))


def _nearest(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _cache_fault(folder: Path) -> str:
    """The fault that keeps a file from being made in a folder; empty where there is none."""
    if not folder.is_absolute():
        return f"`{folder}` must be an absolute path"
    place = _nearest(folder)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return ""
    return f"`{folder}` cannot be written"


def tracking_fault(uri: str) -> str:
    """The fault of an MLflow server, within some seconds; empty where there is none, or `uri` is no server."""
    if not is_server(uri):
        return ""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        return "" if error.code in (401, 403, 404) else f"answered {error.code}"  # it is there; the driver logs in
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        is_there = any(isinstance(one, ssl.SSLError) for one in (error, reason))  # certificates are the driver's
        return "" if is_there else f"no answer: {reason}"
    return ""


def _gpus() -> Iterable[Gpu]:
    try:
        import torch
    except (ImportError, OSError):  # told as a missing package
        return
    with contextlib.suppress(RuntimeError):  # a driver that is too old for this build sees none
        built_for = torch.cuda.get_arch_list()
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            capability = 10 * found.major + found.minor
            is_amds = torch.version.hip is not None  # whose kinds have other names
            is_supported = is_amds or has_code_for(capability, built_for)
            yield Gpu(found.name, found.total_memory, f"sm_{capability}", is_supported)


def has_code_for(capability: int, built_for: Iterable[str]) -> bool:
    """Tell whether a build of PyTorch runs on a kind of GPU: it needs machine code of that generation, or older PTX.

    capability: such as 70. built_for: such as `sm_75`, `sm_90a` (machine code) and `compute_90` (PTX).
    """
    for kind in built_for:
        code, _, name = kind.partition("_")
        number = int("".join(filter(str.isdigit, name)))
        if number <= capability and (code == "compute" or number // 10 == capability // 10):
            return True
    return False
