"""The origin of results: who ran what, where, and with which versions."""

from __future__ import annotations

import getpass
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """The driver's environment: host, Python, and the versions that matter."""
    packages = ("torch", "ray", "numpy", "optuna", "mlflow", "larvae-sweeps")
    return {"host": platform.node(), "platform": platform.platform(), "python": platform.python_version()} | {
        package: version(package) for package in packages
    }


def source_tags() -> dict[str, str]:
    """The tags of who ran what, which MLflow's own pages show."""
    return {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.git.commit": git_commit(),
    }


def git_commit() -> str:
    """The commit of this project's checkout, `+` if it has changes; `unknown` outside one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
