"""Values to compare a metric with: what perfect codes and what no knowledge at all would score."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from sweeps.analysis.parameters import EMPTY


class Reference(NamedTuple):
    """A value to compare a metric with."""

    value: float
    label: str

    @property
    def text(self) -> str:
        """The value in words, such as `ceiling .896`."""
        return f"{self.label} {f'{self.value:.3f}'.removeprefix('0')}"


_CEILING = {"dsprites": 0.896, "shapes3d": 0.997, "isaac3d": 0.999}
"""MIG of perfect codes in 20 bins, for want of which it stays below 1 (dSprites: .802 to .998 a factor)."""
_PREDICTING_THE_MEAN = {"dsprites": 0.725, "shapes3d": 0.790, "isaac3d": 1.089}


def reference(members: pd.DataFrame, metric: str) -> Reference | None:
    """The reference for members of one data set; None without one, and for members of several."""
    if members["dataset"].nunique() > 1:
        return None
    grid = str(members["dataset"].iloc[0]).removesuffix("-rendered")  # both depend on the factors, not on the images
    if metric == "mig" and grid in _CEILING:
        return Reference(_CEILING[grid], "ceiling")
    if metric == "l2" and grid in _PREDICTING_THE_MEAN and _observe_all(members):
        return Reference(_PREDICTING_THE_MEAN[grid], "predicting the mean")
    return None


def _observe_all(members: pd.DataFrame) -> bool:
    """Tell whether y stands for all factors: ℓ2 is over those that it stands for, MIG is over all in any case."""
    if "observed_factors" not in members:
        return True
    return bool(members["observed_factors"].dropna().isin(EMPTY).all())
