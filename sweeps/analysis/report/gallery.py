"""Label traversals of the best, the median and the worst setting, small enough for the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from sweeps.analysis.names import written
from sweeps.analysis.report.candidates import Candidate, candidates, main_metrics, ranked
from sweeps.analysis.report.study_record import StudyRecord

MOST_PICTURES = 12
MOST_BYTES = 90_000
"""Bytes of a picture: they are written by a third longer into the page."""
_TRIES = 2
"""Members that are asked for their pictures, for each picture that is wanted."""
_WIDTHS = (1000, 700, 500, 350)


class Exhibit(NamedTuple):
    """A picture with its caption."""

    caption: str
    webp: bytes
    width: int
    height: int


def gallery(record: StudyRecord) -> list[Exhibit]:
    """Traversals of settings by the study's first metric; none where nothing has finished or no member left one."""
    metrics = main_metrics(record)
    order = ranked(candidates(record), metrics[0]) if metrics else []
    rows = {str(row["hash"]): row for row in record.members.to_dict("records")}
    exhibits: list[Exhibit] = []
    parts = _parts(order)
    for words, candidate in parts:
        left = MOST_PICTURES // len(parts)
        for name in candidate.hashes[: _TRIES * left]:  # each costs a server's time
            picture = record.picture(rows[name]) if left else None
            if small := picture and smaller(picture):
                mean = candidate.interval(metrics[0]).mean
                which = f"{words} by {written(metrics[0])}, mean {mean:.3f}"
                caption = f"{which}: {candidate.name}, seed {rows[name]['seed']}"
                exhibits.append(Exhibit(caption, *small))
                left -= 1
    return exhibits


def _parts(order: Sequence[Candidate]) -> list[tuple[str, Candidate]]:
    if len(order) < 3:
        return list(zip(("Best", "Worst"), order, strict=False))
    return [("Best", order[0]), ("Median", order[len(order) // 2]), ("Worst", order[-1])]


def smaller(png: bytes) -> tuple[bytes, int, int] | None:
    """A picture as WebP of MOST_BYTES at most, with width and height; None where it is none, or stays too large."""
    try:
        with Image.open(io.BytesIO(png)) as opened:
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
    for width in _WIDTHS:
        scaled = picture.copy()
        scaled.thumbnail((width, 4 * width))
        content = io.BytesIO()
        scaled.save(content, "WEBP", quality=80)
        if len(content.getvalue()) <= MOST_BYTES:
            return content.getvalue(), scaled.width, scaled.height
    return None
