"""Names that people write for the code's abbreviations, and the order in which the paper shows them."""

from __future__ import annotations

from collections.abc import Iterable

from larvae.datasets import SPECIFICATIONS
from larvae.metrics import SCORES, held_out
from larvae.regularisers import REGULARISERS

METRIC_NAMES = {name: score.label for name, score in SCORES.items()}
METRIC_NAMES |= {held_out(name): f"held-out {label}" for name, label in METRIC_NAMES.items()}
DATASET_NAMES = {name: known.label for name, known in SPECIFICATIONS.items()}
REGULARISER_NAMES = {name: regulariser.label for name, regulariser in REGULARISERS.items()}


def written(name: str) -> str:
    """The name that people write; one that is not known stays as it is."""
    return (METRIC_NAMES | DATASET_NAMES | REGULARISER_NAMES).get(name, name)


def seeds_text(number: int) -> str:
    """A number of seeds in words, such as `one seed` or `3 seeds`."""
    return "one seed" if number == 1 else f"{number} seeds"


def in_order(names: Iterable[str]) -> list[str]:
    """Distinct names of data sets, or of regularisers, as the paper orders them; others follow by alphabet."""
    known = [*DATASET_NAMES, *REGULARISER_NAMES]
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))
