"""The specification of a data set: what is known before a single image of it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from larvae.datasets.factors import FactorGrid, Factors


class Crop(NamedTuple):
    """A square that is cut out of each photograph, in pixels."""

    size: int
    """Length of its sides."""
    x: int
    """Its centre, from the left."""
    y: int
    """Its centre, from the top."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Specification:
    """A data set's name, factors and images, and where the images come from."""

    name: str
    """Name on the command line."""
    label: str
    """Name for people."""
    title: str
    """One line for people: what it shows and who made it."""
    factors: Factors
    num_images: int
    channels: int
    """1 for black and white, 3 for red, green and blue."""
    is_rendered: bool = False
    """True if any node can make the images itself."""
    render: Callable[[NDArray[np.integer], NDArray[np.uint8]], NDArray[np.uint8]] | None = None
    """Draws images (n, 3, 64, 64) from class indices (n, k) and a geometry; None where files hold the images."""
    takes: str = ""
    """Files that it is converted from, in words; empty where it is only rendered."""
    home: str = ""
    """Page or file to get that from."""
    url: str = ""
    """File that the command line downloads; empty where its owner lets no program do that."""
    download_bytes: int = 0
    """Size of that file."""
    checksums: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Algorithm and digest of published files, by name or suffix; a file that is not among them is not checked."""
    crop: Crop | None = None
    """Part that is cut out of each photograph; None where images are taken whole."""

    @property
    def maximum(self) -> int:
        """The value of a white pixel."""
        return 1 if self.channels == 1 else 255

    @property
    def download_megabytes(self) -> int:
        return self.download_bytes // 10**6

    @property
    def has_independent_factors(self) -> bool:
        """True if all combinations of factors occur equally often, which MIG and the other scores presuppose."""
        return isinstance(self.factors, FactorGrid)
