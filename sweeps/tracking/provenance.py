"""The origin of results: who ran what, where, and with which versions. What is not known is left out, never missed."""

from __future__ import annotations

import getpass
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import masked


def environment() -> dict[str, Any]:
    """The driver's environment: host, Python, and the versions that matter."""
    packages = ("torch", "ray", "numpy", "optuna", "mlflow", "larvae-sweeps")
    return {"host": platform.node(), "platform": platform.platform(), "python": platform.python_version()} | {
        package: _version(package) for package in packages
    }


def source_tags(uri: str) -> dict[str, str]:
    """The tags of who ran what, which MLflow's own pages show. uri: an address whose password is left out."""
    return {
        mlflow_names.COMMAND: masked(shlex.join(["python", *sys.argv]), uri)[: mlflow_names.MOST_CHARACTERS],
        "mlflow.user": user_name(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": Path(sys.argv[0]).name,
        mlflow_names.COMMIT: git_commit(),
    }


def user_name() -> str:
    """The name of the user; in a container that knows none, their number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def git_commit() -> str:
    """The commit of this project's checkout, `+` if it has changes; `unknown` outside one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
