"""Tables of binary attributes: a row an image, in CelebA's own form or in one that it has been brought into since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from larvae.errors import InvalidInputError

_VALUES = ("-1", " 1")
_SEPARATORS = str.maketrans(',;"', "   ")  # those of CSV files become those of the published one


def read(path: str, content: bytes, images: Sequence[str], attributes: Sequence[str]) -> NDArray[np.uint8]:
    """The attributes of images in the order given, as classes, 0 for no and 1 for yes, uint8 (N, k).

    path: the file, for messages. content: its bytes: a line of attributes and a line for each image, name first,
    separated by spaces, tabs, commas or semicolons, in any order. Their number, above, may be there.
    Raises InvalidInputError unless each image is there once, and each attribute is −1 or 1.
    """
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = content.decode(encoding, errors="replace").translate(_SEPARATORS).splitlines()
    header, *rows = [line for line in lines if line.strip()] or [""]
    count = header.strip() if header.strip().isdecimal() else ""
    if count:
        header, *rows = rows or [""]
    columns = _columns(path, header.lower().split(), attributes)
    if len(rows) != len(images) or count not in ("", str(len(images))):
        counted = f" with a count of {count}" if count else ""
        raise InvalidInputError(f"`{path}` must list {len(images)} images, got {len(rows)}{counted}")
    classes = np.empty((len(images), len(attributes)), np.uint8)
    positions = {name: position for position, name in enumerate(images)}
    for row in rows:
        name, *values = row.split()
        position = positions.pop(name.lower(), None)
        if position is None:
            raise InvalidInputError(f"`{path}` must list {images[0]} to {images[-1]} once each, got {name} as well")
        _require_values(path, name, values, len(attributes))
        classes[position] = [values[column] == "1" for column in columns]
    return classes


def published(classes: NDArray[np.uint8], images: Sequence[str], attributes: Sequence[str]) -> bytes:
    """The file that has these attributes, as CelebA's publisher wrote his: lines end in CR LF, and the first value of
    a row is not aligned with those below."""
    rows = (
        f"{name} {' '.join([_VALUES[value] for value in row]).lstrip()}"
        for name, row in zip(images, classes.tolist(), strict=True)
    )
    return "".join(f"{line}\r\n" for line in (len(images), " ".join(attributes) + " ", *rows)).encode()


def _columns(path: str, header: Sequence[str], attributes: Sequence[str]) -> list[int]:
    """The column of each attribute, whatever their order. The images' may have a name too."""
    found = header[1:] if header and header[0] not in attributes else header
    unknown, missing = Counter(found) - Counter(attributes), [name for name in attributes if name not in found]
    if unknown or missing:
        fault = f"without {', '.join(missing)}" if missing else f"with {', '.join(unknown)} as well"
        raise InvalidInputError(f"`{path}` must name {len(attributes)} attributes, got {len(found)} {fault}")
    return [found.index(name) for name in attributes]


def _require_values(path: str, image: str, values: Sequence[str], count: int) -> None:
    wrong = [value for value in values if value not in ("-1", "1")]
    if wrong or len(values) != count:
        got = wrong[0] if wrong else f"{len(values)} values"
        raise InvalidInputError(f"`{path}` must give {count} values of -1 or 1 for {image}, got {got}")
