"""Figures of benchmarks: their numbers, files, and results of another kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import draw
from tests.analysis.outcome import Script


def point(label: str, trials: int, members: int = 1, mlflow: str = "none") -> dict[str, Any]:
    kind = {"label": label, "trials": trials, "members_per_trial": members, "mlflow": mlflow}
    return {**dict.fromkeys(draw.NUMBERS, 0.01 * trials), **kind, "processor": "a processor"}


POINTS = [
    *(point("before", trials) for trials in (480, 48)),
    *(point("now", 480, members=members) for members in (1, 8)),
    *(point("now", 48, mlflow=kind) for kind in ("sqlite", "http")),
]
SEARCHES = {
    "processor": "a machine",
    "device_seconds": 100.0,
    "TPE": {"best_so_far": [[[10, 0.1], [50, 0.3]], [[20, 0.2], [60, 0.1]]]},
    "random": {"best_so_far": [[[30, 0.2]], [[40, 0.25]]]},
}


def test_points_of_a_kind_are_one_curve_in_the_order_of_their_trials() -> None:
    figure = draw.scaling_figure({"points": POINTS})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["before", "now", "now, 8 members a trial"]
    for ax in figure.axes:
        assert [list(line.get_xdata()) for line in ax.lines[:3]] == [[48, 480], [480], [480]]
        assert list(ax.lines[0].get_ydata()) == [0.48, 4.8]


def test_the_mean_is_of_what_each_repetition_has_and_unknown_before_all_have_something() -> None:
    courses = draw.courses_of(SEARCHES)
    assert list(courses) == ["TPE", "random"]
    mean = courses["TPE"].mean(axis=1, skipna=False)
    assert mean.isna().to_dict() == {10: True, 20: False, 50: False, 60: False}
    assert mean[[20, 50, 60]].to_list() == pytest.approx([0.15, 0.25, 0.2])


@pytest.mark.usefixtures("undrawn")
def test_figures_are_written_and_results_of_another_kind_are_one_line(script: Script, tmp_path: Path) -> None:
    drawing, partly = script.of(draw.main, "--results", str(tmp_path)), {"device_seconds": 1, "processor": "x"}
    for name, right, wrong in (
        ("scaling", {"points": POINTS}, ({"points": []}, {"points": [{}]}, {"points": 3})),
        ("search_pays", SEARCHES, (partly, partly | {"a": {"best_so_far": 1}})),
    ):
        path = tmp_path / f"{name}.json"
        line = f"`{path}` must be what benchmarks/{name}.py wrote, but: "
        drawing.refuse({"": line})  # no such file
        for content in ("no JSON", "", "{}", *map(json.dumps, wrong)):
            path.write_text(content)
            drawing.refuse({"": line})
        path.write_text(json.dumps(right))
    drawing.succeed(output="search_pays.png")
