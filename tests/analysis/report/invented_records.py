"""Invented studies as their report reads them: members in the process, rows, pictures, without MLflow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sweeps.analysis.report.study_record import Origin, StudyRecord, Trained
from tests.analysis.invented import Member, frame


def rows(member: Member, number: int, generator: np.random.Generator) -> list[dict[str, float]]:
    """A member's rows: losses that fall, metrics that approach its results, each of as many digits as real ones."""
    noise = 0.01 * generator.standard_normal((number, 3))
    return [
        {
            "iteration": float(member.iterations * place // number),
            "loss": 6000 / place + 2000 + 10 * noise[place - 1, 0],
            "mig": member.mig * (1 - 0.8 ** (30 * place / number)) + noise[place - 1, 1],
            "l2": member.l2 * (1 + 0.8 ** (30 * place / number)) + noise[place - 1, 2],
            "seconds": 20.0,
            "seconds_per_iteration": 0.4,
        }
        for place in range(1, number + 1)
    ]


def record(
    members: Sequence[Member],
    *,
    study: str = "invented",
    num_rows: int = 20,
    origin: Origin | None = None,
    device: str = "Tesla V100",
    picture: bytes | None = None,
    **columns: Any,
) -> StudyRecord:
    """A study; members that have not begun have no rows, those that failed half of them. columns: of `members`."""
    generator = np.random.default_rng(0)
    table = frame(list(members)).assign(directory="", **columns)
    trained = {
        name: Trained(
            rows(member, num_rows if member.status == "FINISHED" else num_rows // 2, generator),
            devices=(device,) if device else (),
            seconds=20.0 * num_rows,
        )
        for name, member in zip(table["hash"], members, strict=True)
        if member.status != "SCHEDULED"
    }
    return StudyRecord(
        study=study,
        members=table,
        trained=trained,
        origin=origin or Origin("memory", {"format": "2"}),
        picture=lambda _: picture,
        runs={name: name for name in table["hash"]} if origin else {},
    )


def contact_sheet(size: int = 700) -> bytes:
    """A picture that is as hard to compress as traversals are, and no easier."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 255, (size // 16, size // 16), np.uint8)
    sheet = io.BytesIO()
    Image.fromarray(small).resize((size, size)).save(sheet, "PNG")
    return sheet.getvalue()
