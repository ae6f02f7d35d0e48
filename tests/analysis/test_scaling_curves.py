from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from benchmarks import draw_scaling

NUMBERS = [panel.name for panel in draw_scaling.PANELS]


def point(label: str, trials: int, members: int = 1, mlflow: str = "none") -> dict[str, Any]:
    numbers = dict.fromkeys(NUMBERS, 0.01 * trials)
    kind = {"label": label, "trials": trials, "members_per_trial": members, "mlflow": mlflow}
    return {**numbers, **kind, "processor": "a processor"}


POINTS = [
    point("before", 480),
    point("before", 48),
    point("now", 480),
    point("now", 480, members=8),
    point("now", 48, mlflow="sqlite"),
    point("now", 48, mlflow="http"),
]


def test_points_of_a_kind_are_one_curve_in_the_order_of_their_trials() -> None:
    curves = {curve.label: curve.values("trials") for curve in draw_scaling.curves_of(POINTS)}
    assert curves == {"before": [48, 480], "now": [480], "now, 8 members a trial": [480]}


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "scaling.json").write_text(json.dumps({"points": POINTS}))
    code = draw_scaling.main(["--results", str(tmp_path / "scaling.json"), "--output", str(tmp_path / "out")])
    assert code == 0
    (written,) = (tmp_path / "out").iterdir()
    assert written.name == "scaling_driver.png"
    assert image.imread(written)[..., :3].std() > 0.05, "it is empty"


@pytest.mark.parametrize("content", ["", "{}", '{"points": []}', '{"points": [{}]}', '{"points": 3}'])
def test_what_the_benchmark_did_not_write_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "scaling.json").write_text(content)
    code = draw_scaling.main(["--results", str(tmp_path / "scaling.json"), "--output", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert "`results` must be what benchmarks/scaling.py wrote" in error
    assert not (tmp_path / "out").exists()
