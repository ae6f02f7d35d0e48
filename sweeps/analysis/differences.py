"""Each value of a swept parameter against the lowest one, such as the baseline τ = 0, over seeds that have both."""

from __future__ import annotations

import pandas as pd

from larvae.errors import InvalidInputError
from sweeps.analysis.comparisons import holm, paired_p_value, paired_results
from sweeps.analysis.estimates import has_result, mean_interval
from sweeps.analysis.parameters import Parameter

DIFFERENCE_METRICS = ("mig", "mig_y", "mig_aligned", "l2")


def differences_frame(members: pd.DataFrame, parameter: Parameter) -> pd.DataFrame:
    """One row a label rate, value and metric: mean difference with its t-interval, and the paired t-test's p-value.

    p_holm: corrected over all rows of one metric. Raises InvalidInputError where there is nothing to compare.
    """
    rows = [
        _difference(cell, parameter, value, lowest, metric)
        for metric in DIFFERENCE_METRICS
        if has_result(members, metric).any()
        for _, cell in members.groupby("dataset" if parameter.name == "label_rate" else "label_rate")
        for lowest, *others in [sorted(set(cell[parameter.name]))]
        for value in others
    ]
    if not rows:
        rule = f"`parameter` must vary at one label rate at least, as {parameter.name} does not"
        raise InvalidInputError(f"{rule}: that takes a grid of it")
    frame = pd.DataFrame(rows)
    frame["p_holm"] = frame.groupby("metric")["p_value"].transform(lambda p_values: holm(list(p_values)))
    return frame


def _difference(
    cell: pd.DataFrame, parameter: Parameter, value: float, lowest: float, metric: str
) -> dict[str, object]:
    first, second = (cell[cell[parameter.name] == at] for at in (lowest, value))
    pairs = paired_results(first, second, metric)
    interval = mean_interval([high - low for low, high in pairs])
    return {
        "label_rate": cell["label_rate"].iloc[0],
        parameter.name: value,
        "against": lowest,
        "metric": metric,
        "num_pairs": len(pairs),
        "mean_difference": interval.mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "p_value": paired_p_value([high for _, high in pairs], [low for low, _ in pairs]),
    }
