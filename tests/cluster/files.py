"""The files of cluster/, as tests read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"


def read_yaml(path: str) -> list[dict[str, Any]]:
    """All documents of a YAML file below cluster/."""
    return list(yaml.safe_load_all((CLUSTER / path).read_text()))


def read_constraints() -> dict[str, str]:
    """Pinned versions by package."""
    lines = (line.partition("#")[0].strip() for line in (CLUSTER / "constraints.txt").read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def shell_scripts() -> list[Path]:
    """All shell scripts below cluster/."""
    return sorted(path for suffix in ("*.sh", "*.sbatch") for path in CLUSTER.rglob(suffix))
