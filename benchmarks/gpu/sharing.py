"""Step 3: processes that share one GPU, with NVIDIA's daemon for that (MPS) and without: textbook ones, and groups."""

from __future__ import annotations

from gpu.measuring import of_own_seeds, row
from gpu.rows import Row, Settings


def rows(settings: Settings) -> list[Row]:
    """The rows, the most informative first: six processes are what Ray's shares of 1/6 of a GPU come to."""
    few, many = settings.in_small((6, 16), (2, 2))
    members = of_own_seeds(settings.in_small(32, 4))
    return [
        row("textbook", of_own_seeds(few), settings, processes=few),
        row("textbook", of_own_seeds(few), settings, processes=few, mps=True),
        row("group", members, settings, processes=2, mps=True, at_least=90),
        row("group", members, settings, processes=2, at_least=40),
        row("textbook", of_own_seeds(many), settings, processes=many, mps=True, at_least=25),
        row("group", members, settings, processes=4, mps=True, at_least=90),
        row("group", members, settings, processes=4, at_least=40),
        row("textbook", of_own_seeds(many), settings, processes=many, at_least=25),
        row("eager", of_own_seeds(few), settings, processes=few, at_least=25),
        row("vmap", members, settings, processes=4, mps=True, at_least=25),
    ]
