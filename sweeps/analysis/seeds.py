"""Spread over crossed seeds: how much of a metric's variance is the labelled set's, how much the model's.

Each labelled set is crossed with each model's seed (initialisation, batches and noise), as `--grid label_seed=0,1,2`
does. The components are those of a two-way random-effects model without replication, by the method of moments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from larvae.errors import InvalidInputError
from sweeps.analysis import load
from sweeps.analysis.crossed import without_gaps
from sweeps.analysis.estimates import has_result, measured
from sweeps.analysis.names import written
from sweeps.analysis.parameters import setting_name, varies

METRICS = ("mig", "mig_y", "mig_aligned", "l2")


class Components(NamedTuple):
    """The variance of one metric at one setting, in parts; NaN where fewer than 2 × 2 seeds are crossed."""

    setting: str
    metric: str
    num_label_seeds: int
    num_seeds: int
    mean: float
    standard_error: float
    """Of the mean, over labelled sets and models alike: that of as many independent values would be too small."""
    label_set: float
    """Variance over labelled sets."""
    model: float
    """Variance over models' seeds."""
    rest: float
    """Variance that neither explains: what a labelled set and a model have together, and the metric's own noise."""

    @property
    def total(self) -> float:
        return self.label_set + self.model + self.rest

    def share(self, part: float) -> float:
        return part / self.total if self.total > 0 else math.nan


def find_study(tracking_uri: str) -> str:
    """Name of the most recently created study that crosses seeds. Raises InvalidInputError when there is none."""
    crosses = partial(varies, field="label_seed")
    return load.newest_sweep(tracking_uri, crosses, "a study that crosses seeds (--grid label_seed=0,1,2 makes one)")


def components(study: str, members: pd.DataFrame) -> list[Components]:
    """Split the variance of each metric at each setting of the other fields. Raises InvalidInputError."""
    if not varies(members, "label_seed"):
        raise InvalidInputError(f"members of `study` must vary label_seed, got {study}: --grid label_seed=0,1,2 does")
    varied = load.other_parameters(members, "label_seed")
    varied += ["label_rate"] if members["label_rate"].nunique() > 1 else []
    settings = [some for _, some in members.groupby(varied, dropna=False)] if varied else [members]
    return [
        _components(setting_name({name: some[name].iloc[0] for name in varied}), metric, some[has_result(some, metric)])
        for metric in measured(study, members, METRICS)
        for some in settings
    ]


def _components(setting: str, metric: str, members: pd.DataFrame) -> Components:
    table = members.pivot_table(index="label_seed", columns="seed", values=metric)
    values = without_gaps(table).to_numpy(np.float64)  # [labelled set, model]
    rows, columns = values.shape
    mean = float(values.mean()) if values.size else math.nan
    if min(rows, columns) < 2:
        return Components(setting, metric, rows, columns, mean, *[math.nan] * 4)
    by_row, by_column = values.mean(axis=1), values.mean(axis=0)
    residuals = values - by_row[:, None] - by_column + mean
    rest = float(np.square(residuals).sum() / ((rows - 1) * (columns - 1)))
    label_set = max(0.0, float(by_row.var(ddof=1)) - rest / columns)
    model = max(0.0, float(by_column.var(ddof=1)) - rest / rows)
    error = math.sqrt(label_set / rows + model / columns + rest / (rows * columns))
    return Components(setting, metric, rows, columns, mean, error, label_set, model, rest)


def components_frame(found: Sequence[Components]) -> pd.DataFrame:
    """One row a setting and metric, with the parts as variances."""
    return pd.DataFrame([part._asdict() for part in found])


def components_table(study: str, found: Sequence[Components]) -> str:
    """A line a setting and metric for the terminal."""
    width = max(8, *(len(one.setting) for one in found)) + 2
    lines = [
        f"{study}: mean ± standard error over crossed seeds; shares of the variance",
        f"    {'':<{width}}{'metric':<14}{'sets × models':>14}{'mean':>18}{'labelled set':>14}{'model':>8}{'rest':>8}",
    ]
    for one in found:
        shares = [one.share(part) for part in (one.label_set, one.model, one.rest)]
        texts = ["-" if math.isnan(share) else f"{share:.0%}" for share in shares]
        error = "" if math.isnan(one.standard_error) else f" ± {one.standard_error:.3f}"
        mean = "-" if math.isnan(one.mean) else f"{one.mean:.3f}{error}"
        crossed = f"{one.num_label_seeds} × {one.num_seeds}"
        lines.append(
            f"    {one.setting:<{width}}{written(one.metric):<14}{crossed:>14}{mean:>18}"
            f"{texts[0]:>14}{texts[1]:>8}{texts[2]:>8}"
        )
    return "\n".join(lines)
