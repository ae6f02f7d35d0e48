"""Figures of benchmarks: their numbers, files, and results of another kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import draw_scaling, draw_search_pays
from tests.analysis.outcome import Script


def point(label: str, trials: int, members: int = 1, mlflow: str = "none") -> dict[str, Any]:
    numbers = dict.fromkeys((panel.name for panel in draw_scaling.PANELS), 0.01 * trials)
    kind = {"label": label, "trials": trials, "members_per_trial": members, "mlflow": mlflow}
    return {**numbers, **kind, "processor": "a processor"}


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
    curves = {curve.label: curve.values("trials") for curve in draw_scaling.curves_of(POINTS)}
    assert curves == {"before": [48, 480], "now": [480], "now, 8 members a trial": [480]}
    figure = draw_scaling.scaling_figure(draw_scaling.curves_of(POINTS), "a processor")
    limits = [panel.limit is not None for panel in draw_scaling.PANELS]
    assert [len(ax.lines) for ax in figure.axes] == [3 + has_limit for has_limit in limits]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(curves)


def test_the_mean_is_of_what_each_repetition_has_and_unknown_before_all_have_something() -> None:
    tpe, random = draw_search_pays.courses(SEARCHES)
    assert (tpe.method, random.method) == ("TPE", "random")
    means = tpe.mean_at(np.array([5, 10, 20, 50, 60, 1000]))
    assert np.isnan(means[:2]).all()
    assert means[2:] == pytest.approx([0.15, 0.25, 0.2, 0.2])


@pytest.mark.usefixtures("undrawn")
def test_figures_are_written_and_results_of_another_kind_are_one_line(script: Script, tmp_path: Path) -> None:
    path, partly = tmp_path / "results.json", {"device_seconds": 1, "processor": "x"}
    for module, name, right, wrong in (
        (draw_scaling, "scaling.py", {"points": POINTS}, ({"points": []}, {"points": [{}]}, {"points": 3})),
        (draw_search_pays, "search_pays.py", SEARCHES, (partly, partly | {"a": {"best_so_far": 1}})),
    ):
        drawing = script.of(module.main, "--results", str(path))
        line = f"`results` must be what benchmarks/{name} wrote, got `{path}`: "
        drawing.refuse({"": line})  # no such file
        for content in ("no JSON", "", "{}", *map(json.dumps, wrong)):
            path.write_text(content)
            drawing.refuse({"": line})
        path.write_text(json.dumps(right))
        drawing.succeed(output=name)
        path.unlink()
