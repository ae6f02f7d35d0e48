"""The sample of encoded images that metrics are computed from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from larvae.datasets.factors import Factors


class Sample(NamedTuple):
    """Encoded images, and the rest that a metric may ask for."""

    codes: NDArray[np.floating]
    """Posterior means of (y, z), (n, |y| + |z|)."""
    classes: NDArray[np.integer]
    """Class indices of all factors, (n, k)."""
    label_columns: list[int]
    """Columns of the factors that y stands for, |y| of them."""
    labels: Factors
    """The factors that y stands for."""
    test_codes: NDArray[np.floating]
    """Posterior means of other images, (m, |y| + |z|); no rows where no metric needs them."""
    test_classes: NDArray[np.integer]
    """(m, k)"""

    @property
    def pools(self) -> tuple[NDArray[np.floating], NDArray[np.integer], NDArray[np.floating], NDArray[np.integer]]:
        """Codes and classes to learn on, and those to be scored on."""
        return self.codes, self.classes, self.test_codes, self.test_classes

    @property
    def inferred(self) -> NDArray[np.floating]:
        """Inferred labels (n, |y|)."""
        return self.codes[:, : len(self.label_columns)]

    @property
    def label_classes(self) -> NDArray[np.integer]:
        """Class indices of the factors that y stands for, (n, |y|)."""
        return self.classes[:, self.label_columns]
