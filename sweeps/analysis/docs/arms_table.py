"""The table of controls: a line an arm, the mean of each metric."""

from __future__ import annotations

from sweeps.analysis.controls import Controls
from sweeps.analysis.docs.written_pages import markdown_table, number_text
from sweeps.analysis.names import written


def arms_table(found: Controls) -> str:
    """Means over seeds of each arm; a dash where an arm has no such number."""
    columns = {metric: found.of_metric(metric) for metric in found.metrics}
    rows = [
        [arm.name, *(number_text(results[place].interval.mean) for results in columns.values())]
        for place, arm in enumerate(found.arms)
    ]
    return markdown_table(["arm", *map(written, columns)], rows, num_texts=1)
