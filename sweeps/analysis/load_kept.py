"""Results that the repository keeps, `docs/results/STUDY`, as the table that `load.load_members` gives of MLflow."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pandas as pd

from larvae.config import MemberConfig, require_format
from larvae.errors import InvalidInputError
from larvae.files import listed, load_json
from larvae.member_directory import is_result
from sweeps.analysis.load import LOGGED_METRICS, distinct_members
from sweeps.tracking.mlflow_names import FAILED, FINISHED


def load_kept(folder: Path, iterations: int | None = None) -> pd.DataFrame:
    """Members that have ended, one row each, with the columns of `load_members`.

    iterations: at which results are taken, of an evaluation on the way; None for the end.
    Raises InvalidInputError where there is none, or one is damaged or of an earlier format.
    """
    rows = [_row(path, iterations) for path in listed(folder, "*.json")]
    if not rows:
        raise InvalidInputError(f"`kept` must be a folder with results of members, got `{folder}`")
    return distinct_members(rows)


def _row(path: Path, iterations: int | None) -> dict[str, Any]:
    result = load_json(path)
    require_format(result.get("format"), f"`{path}` was written", "use the version that wrote it")
    config = None
    with contextlib.suppress(TypeError, InvalidInputError):
        config = MemberConfig.from_dict(result["config"]) if is_result(result) else None
    if config is None:
        raise InvalidInputError(f"`{path}` must be a member's whole result: put back the committed one")
    history = result["history"]
    evaluated = [row for row in history if "mig" in row or "l2" in row]
    if iterations is not None:
        evaluated = [row for row in evaluated if row["iteration"] == iterations]
        if not evaluated and result["status"] == "finished":
            known = ", ".join(f"{row['iteration']}" for row in history)
            raise InvalidInputError(
                f"`iterations` must be one of {known}, where `{path}` was evaluated, got {iterations}"
            )
    last = evaluated[-1] if evaluated else {}
    is_finished = result["status"] == "finished"
    return {
        "name": path.stem,
        "hash": config.content_hash,
        "directory": str(path.parent),
        "status": FINISHED if is_finished else FAILED,
        "iterations": int(last.get("iteration", 0)),
        "reason": result["reason"],
        **{name: str(value) if isinstance(value, list) else value for name, value in config.to_dict().items()},
        **{metric: last.get(metric, float("nan")) for metric in LOGGED_METRICS},
    }
