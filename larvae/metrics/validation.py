"""Checks of the codes and classes that a metric is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def require_pool(codes: NDArray[np.floating], classes: NDArray[np.integer]) -> None:
    """Raise ValueError unless codes (n, d) are finite and share n with classes (n, k)."""
    if codes.ndim != 2 or classes.ndim != 2 or len(codes) != len(classes):
        raise ValueError(f"`codes` (n, d) and `classes` (n, k) must share n, got {codes.shape} and {classes.shape}")
    if not np.isfinite(codes).all():
        raise ValueError("`codes` must be finite, got NaN or infinity")


def require_pools(
    codes: NDArray[np.floating],
    classes: NDArray[np.integer],
    test_codes: NDArray[np.floating],
    test_classes: NDArray[np.integer],
) -> None:
    """Raise ValueError unless both pools are sound and share d and k."""
    require_pool(codes, classes)
    require_pool(test_codes, test_classes)
    widths, test_widths = (codes.shape[1], classes.shape[1]), (test_codes.shape[1], test_classes.shape[1])
    if widths != test_widths:
        raise ValueError(f"both pools must have the same (d, k), got {widths} for train and {test_widths} for test")


def varying_factors(classes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Mark the factors that take more than one value, (k,). ValueError when none does.

    classes: class indices of the factors, (n, k).
    """
    varies = np.asarray((classes != classes[:1]).any(axis=0))
    if not varies.any():
        raise ValueError("at least one factor must vary, got constant `classes`")
    return varies
