"""The table of controls: a line an arm, the mean of each metric."""

from __future__ import annotations

import math

from sweeps.analysis.controls import Controls
from sweeps.analysis.docs.written_pages import markdown_table
from sweeps.analysis.names import written


def arms_table(found: Controls) -> str:
    """Means over seeds of each arm; a dash where an arm has no such number."""
    columns = {metric: found.of_metric(metric) for metric in found.metrics}
    rows = [
        [arm.name, *(_number(results[place].interval.mean) for results in columns.values())]
        for place, arm in enumerate(found.arms)
    ]
    return markdown_table(["arm", *map(written, columns)], rows, num_texts=1)


def _number(mean: float) -> str:
    return "–" if math.isnan(mean) else f"{mean:.3f}".replace("-", "−")
