"""A process that reads an HDF5 file for another one: `python hdf5_child.py FILE`. See `guarded_hdf5`.

A line of JSON on stdin asks, one on stdout answers; rows of a data set follow it as bytes. It is run as a file, and
imports nothing of this project: it starts in a quarter of a second.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import h5py
import numpy as np


def answer(file: h5py.File, question: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The answer to a question, and the bytes that follow it."""
    name = question["name"]
    if name is None:
        attributes = {
            key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()
        }
        return {"attributes": {key: value for key, value in attributes.items() if isinstance(value, (int, str))}}, b""
    if "start" in question:
        rows = np.ascontiguousarray(file[name][question["start"] : question["stop"]])
        return {"shape": rows.shape}, rows.reshape(-1).view(np.uint8).data
    if name not in file:
        return {"shape": None}, b""
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise TypeError(f"`{name}` is no array")
    if not isinstance(found.dtype, np.dtype) or found.dtype.hasobject:
        raise TypeError(f"`{name}` holds {found.dtype}")
    return {"shape": found.shape, "dtype": found.dtype.str, "chunks": found.chunks}, b""


def main(path: str) -> None:
    """Answer until stdin ends."""
    file = None
    for line in sys.stdin:
        try:
            file = file or h5py.File(path, "r", locking=False)
            told, content = answer(file, json.loads(line))
        except Exception as error:  # whatever HDF5 comes across in a damaged file
            told, content = {"error": " ".join(str(error).split()) or type(error).__name__}, b""
        sys.stdout.buffer.write(json.dumps({**told, "bytes": len(content)}).encode() + b"\n")
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
