"""Figures and the numbers that they show: each picture carries a digest of these, by which it can be checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from larvae.errors import InvalidInputError
from sweeps.analysis import style


class Drawn(NamedTuple):
    """Figures of one thing, and its numbers."""

    figures: Mapping[str, Callable[[], Figure]]
    """Figures by their files' names without ending, drawn when they are called for."""
    numbers: Mapping[str, bytes]
    """Files of numbers by their names: all that the figures show is in them."""

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that depend on the numbers and nothing else."""
        digest = hashlib.sha256()
        for name, content in sorted(self.numbers.items()):
            digest.update(f"{name} {len(content)} ".encode() + content)
        return digest.hexdigest()[:16]

    def pictures(self, *kinds: str) -> dict[str, bytes]:
        """The contents of the figures' files of some kinds, `png` or `pdf`, by their names."""
        figures = {name: draw() for name, draw in self.figures.items()}
        return {f"{n}.{kind}": style.figure_bytes(f, kind, self.digest) for n, f in figures.items() for kind in kinds}

    def contents(self) -> dict[str, bytes]:
        """All files: figures as PNG and PDF, then numbers."""
        return self.pictures("png", "pdf") | dict(self.numbers)


def csv_files(frames: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """Frames as the contents of CSV files, to ten digits: the last bits of sums and tests are a processor's own."""
    return {name: _rounded(frame).to_csv(index=False, float_format="%.10g").encode() for name, frame in frames.items()}


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Also what is nothing but rounding errors: 0."""
    return frame.assign(**(frame.select_dtypes("float").round(12) + 0.0))


def require_up_to_date(picture: Path, drawn: Drawn) -> None:
    """Raise InvalidInputError where a PNG does not show these numbers."""
    try:
        with Image.open(picture) as image:
            image.load()
            found = getattr(image, "text", {}).get(style.NUMBERS, "none")
    except OSError as error:
        raise InvalidInputError(f"`{picture}` must be a picture: {error}") from None
    if found != drawn.digest:
        raise InvalidInputError(
            f"`{picture}` must show numbers {drawn.digest}, got {found}: `make figures` draws it anew"
        )
