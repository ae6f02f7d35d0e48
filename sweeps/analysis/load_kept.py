"""Results that the repository keeps, `docs/results/STUDY`, as the table that `load.load_members` gives of MLflow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from larvae.config import MemberConfig, require_format
from larvae.errors import InvalidInputError
from larvae.files import listed, load_json
from larvae.member_directory import Row, is_result
from sweeps.analysis.course import Course
from sweeps.analysis.load import LOGGED_METRICS, distinct_members
from sweeps.tracking.mlflow_names import FAILED, FINISHED, SCHEDULED
from sweeps.tracking.study_files import parameter_text


class KeptResult(NamedTuple):
    """An ended member: its file, all that this holds, and its configuration."""

    path: Path
    content: dict[str, Any]
    config: MemberConfig


def read_results(folder: Path) -> list[KeptResult]:
    """The files of a folder. Raises InvalidInputError for none, and for one that is damaged or of an earlier format."""
    found = list(map(read_result, listed(folder, "*.json")))
    if not found:
        raise InvalidInputError(f"`kept` must be a folder with results of members, got `{folder}`")
    return found


def read_result(path: Path) -> KeptResult:
    """One file. Raises InvalidInputError where it is damaged or of an earlier format."""
    return KeptResult(path, *_read(path))


def load_kept(folder: Path, iterations: int | None = None) -> pd.DataFrame:
    """Members that have ended, one row each, with the columns of `load_members`.

    iterations: at which results are taken, of an evaluation on the way; None for the end.
    Raises InvalidInputError where there is none, or one is damaged or of an earlier format.
    """
    return members_of(read_results(folder), iterations)


def members_of(results: Iterable[KeptResult], iterations: int | None = None) -> pd.DataFrame:
    """The same of files that have been read."""
    return distinct_members([_row(*kept, iterations) for kept in results])


def with_planned(members: pd.DataFrame, planned: Iterable[MemberConfig]) -> pd.DataFrame:
    """Members that have ended, and those of a plan that have not, as SCHEDULED: figures tell of them as missing."""
    ended = set(members["hash"])
    waiting = [config for config in planned if config.content_hash not in ended]
    rows = [
        {"name": config.content_hash, "directory": "", "status": SCHEDULED, "iterations": 0, "reason": ""}
        | _fields(config)
        | dict.fromkeys(LOGGED_METRICS, float("nan"))
        for config in waiting
    ]
    there = [{str(name): value for name, value in row.items()} for row in members.to_dict("records")]
    return distinct_members([*there, *rows])


def course_of(results: Sequence[KeptResult]) -> Course:
    """The same at the end, and at each iteration at which all members that have finished were evaluated."""
    finished = [kept.content for kept in results if _is_finished(kept.content)]
    evaluated = [{int(row["iteration"]) for row in _evaluated(content)} for content in finished]
    common = sorted(set.intersection(*evaluated)) if evaluated else []
    end, *on_the_way = (members_of(results, at) for at in (None, *common))
    return Course(end, dict(zip(common, on_the_way, strict=True)))


def _read(path: Path) -> tuple[dict[str, Any], MemberConfig]:
    result = load_json(path)
    require_format(result.get("format"), f"`{path}` was written", "use the version that wrote it")
    with contextlib.suppress(TypeError, InvalidInputError):
        if is_result(result):
            return result, MemberConfig.from_dict(result["config"])
    raise InvalidInputError(f"`{path}` must be a member's whole result: put back the committed one")


def _is_finished(result: dict[str, Any]) -> bool:
    return bool(result["status"] == "finished")


def _evaluated(result: dict[str, Any]) -> list[Row]:
    return [row for row in result["history"] if "mig" in row or "l2" in row]


def _row(path: Path, result: dict[str, Any], config: MemberConfig, iterations: int | None) -> dict[str, Any]:
    evaluated = _evaluated(result)
    if iterations is not None:
        known = ", ".join(f"{row['iteration']}" for row in evaluated)
        evaluated = [row for row in evaluated if row["iteration"] == iterations]
        if not evaluated and _is_finished(result):
            raise InvalidInputError(
                f"`iterations` must be one of {known}, where `{path}` was evaluated, got {iterations}"
            )
    last = evaluated[-1] if evaluated else {}
    return {
        "name": path.stem,
        "directory": str(path.parent),
        "status": FINISHED if _is_finished(result) else FAILED,
        "iterations": int(last.get("iteration", 0)),
        "reason": result["reason"],
        **_fields(config),
        **{metric: last.get(metric, float("nan")) for metric in LOGGED_METRICS},
    }


def _fields(config: MemberConfig) -> dict[str, Any]:
    fields = config.to_dict().items()
    texts = {name: parameter_text(value) if isinstance(value, list) else value for name, value in fields}
    return {"hash": config.content_hash} | texts
