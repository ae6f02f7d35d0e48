"""Ray Tune pickles callbacks, searchers and stoppers to disk, also those that hold what cannot be pickled.

A study goes on from its folder, never from Tune's own records: they have nothing to save.
Discussed in https://github.com/ray-project/ray/issues/23330 (a callback that cannot be copied ends the sweep).
"""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher


class Unsaved:
    """A callback, searcher or stopper of which Tune, which writes all of them to disk, gets nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class UnsavedSearcher(Unsaved, Searcher):
    """A searcher that is never restored."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""
