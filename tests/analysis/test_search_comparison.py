"""Curves of several ways to search: numbers, figure, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import draw_search_pays
from benchmarks.draw_search_pays import courses

RESULTS = {
    "processor": "a machine",
    "device_seconds": 100.0,
    "TPE": {"best_so_far": [[[10, 0.1], [50, 0.3]], [[20, 0.2], [60, 0.1]]]},
    "random": {"best_so_far": [[[30, 0.2]], [[40, 0.25]]]},
}


def test_the_mean_is_of_what_each_repetition_has_and_unknown_before_all_have_something() -> None:
    tpe, random = courses(RESULTS)
    assert (tpe.method, random.method) == ("TPE", "random")
    means = tpe.mean_at(np.array([5, 10, 20, 50, 60, 1000]))
    assert np.isnan(means[:2]).all()
    assert means[2:] == pytest.approx([0.15, 0.25, 0.2, 0.2])


def test_the_figure_is_written(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    arguments = ["--results", str(tmp_path / "results.json"), "--output", str(tmp_path / "figures")]
    assert draw_search_pays.main(arguments) == 0
    assert (tmp_path / "figures" / "search_comparison.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "content",
    [
        None,
        "no JSON",
        "{}",
        '{"device_seconds": 1, "processor": "x"}',
        '{"device_seconds": 1, "processor": "x", "a": {"best_so_far": 1}}',
    ],
)
def test_results_of_another_kind_are_one_line(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    assert draw_search_pays.main(["--results", str(path), "--output", str(tmp_path / "figures")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: `results` must be what benchmarks/search_pays.py wrote, got `{path}`: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "figures").exists()
