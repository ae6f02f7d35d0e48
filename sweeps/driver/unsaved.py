"""Parts of Ray Tune that have nothing to save: a study goes on from its folder, never from Tune's own records."""

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
