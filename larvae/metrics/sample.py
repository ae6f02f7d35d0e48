"""The sample of encoded images that metrics are computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from larvae.datasets.factors import Factors


class OnDemand(NamedTuple):
    """Computations that take time and memory: made for a metric that asks for them, and for no other."""

    log_variances: Callable[[], NDArray[np.floating]]
    """Posterior log-variances of (y, z) of the sample's images, (n, |y| + |z|)."""
    decode: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.uint8]]
    """Expected images (m, channels, 64, 64), 0 to 255, of labels (m, |y|) and nuisances (m, |z|)."""
    pictures: Callable[[NDArray[np.integer]], NDArray[np.uint8]]
    """The data set's own images, of the same form, of all factors' class indices (m, k)."""


def _unavailable(*_: object) -> NoReturn:
    raise ValueError("a sample of codes alone must not be asked for posteriors or images: give it `on_demand`")


CODES_ALONE = OnDemand(_unavailable, _unavailable, _unavailable)


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
    infers_logits: bool = False
    """True if q(y|x)'s means are logits of labels in [0, 1], as a cross-entropy learns them."""
    on_demand: OnDemand = CODES_ALONE
    """Computations with the model and the data set; metrics of codes do without."""

    @property
    def pools(self) -> tuple[NDArray[np.floating], NDArray[np.integer], NDArray[np.floating], NDArray[np.integer]]:
        """Codes and classes to learn on, and those to be scored on."""
        return self.codes, self.classes, self.test_codes, self.test_classes

    @property
    def inferred(self) -> NDArray[np.floating]:
        """Inferred labels (n, |y|)."""
        return self.codes[:, : len(self.label_columns)]

    @property
    def nuisance(self) -> NDArray[np.floating]:
        """Posterior means of z, (n, |z|)."""
        return self.codes[:, len(self.label_columns) :]

    @property
    def label_classes(self) -> NDArray[np.integer]:
        """Class indices of the factors that y stands for, (n, |y|)."""
        return self.classes[:, self.label_columns]
