"""A file for HDF5 to write: on a full disk HDF5's library alone cannot close its file, and crashes the process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any


class WrittenFile(io.FileIO):
    """Raises the first error of the disk, and keeps it. From then on nothing is written, but said to be.

    So HDF5 can close what nobody will read.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of some bytes; return their number."""

        def write_all() -> None:
            left = data
            while left:
                left = left[super(WrittenFile, self).write(left) :]

        self._unless_failed(write_all)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the size; return it."""
        self._unless_failed(lambda: super(WrittenFile, self).truncate(size))
        return size or 0

    @contextlib.contextmanager
    def given_up_on_errors(self) -> Iterator[None]:
        """After an error within this nothing is written any more. Where the disk had failed, its error is raised."""
        try:
            yield
        except BaseException as error:
            cause, self.error = self.error or error, self.error or OSError("given up")
            raise cause from None

    def _unless_failed(self, act: Callable[[], object]) -> None:
        if self.error is None:
            try:
                act()
            except OSError as error:
                self.error = error
                raise
