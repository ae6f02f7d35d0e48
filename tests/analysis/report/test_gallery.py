"""Traversals of the best, the median and the worst setting: few, small, and none where there are none."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from sweeps.analysis.report import gallery
from tests.analysis.invented import grid
from tests.analysis.report.invented_records import contact_sheet, record


def test_the_best_the_median_and_the_worst_are_shown() -> None:
    study = record(grid(range(5), (0.01,), range(6)), picture=contact_sheet(200))
    captions = [exhibit.caption for exhibit in gallery.gallery(study)]
    assert len(captions) == gallery.MOST_PICTURES
    assert [caption.partition(" seed ")[0] for caption in captions[::4]] == [
        "Best by MIG, mean 0.253: τ = 4,",
        "Median by MIG, mean 0.233: τ = 2,",
        "Worst by MIG, mean 0.213: τ = 0,",
    ]


def test_pictures_are_made_small_and_what_is_none_is_left_out() -> None:
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 2000, 3), np.uint8)).save(noise, "PNG")
    small = gallery.smaller(noise.getvalue())
    assert small is not None
    assert len(small[0]) <= gallery.MOST_BYTES
    assert Image.open(io.BytesIO(small[0])).size == small[1:]
    assert gallery.smaller(b"no picture") is None


def test_few_members_are_asked_for_pictures_that_are_not_there() -> None:
    asked: list[object] = []
    study = replace(record(grid(range(5), (0.01,), range(50))), picture=asked.append)
    assert gallery.gallery(study) == []
    assert len(asked) <= 2 * gallery.MOST_PICTURES
