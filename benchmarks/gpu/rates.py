"""Step 2: the rate of one process, by the ways that it can train in."""

from __future__ import annotations

from gpu.measuring import as_in_the_sweep, of_own_seeds, row
from gpu.rows import Row, Settings


def rows(settings: Settings) -> list[Row]:
    """The rows, the most informative first: groups, what they are compared with, then the rest."""
    few, middle, many = settings.in_small((8, 16, 32), (2, 2, 2))
    return [
        row("group", of_own_seeds(few), settings, at_least=90, profiled=10),
        row("group", of_own_seeds(many), settings, at_least=90, profiled=10),
        row("textbook", of_own_seeds(1), settings),
        row("vmap", of_own_seeds(few), settings, at_least=25),
        row("eager", of_own_seeds(1), settings),
        row("group", as_in_the_sweep(many), settings, name="ten of a seed", at_least=30),
        row("compiled", of_own_seeds(1), settings, at_least=60),
        row("vmap-compiled", of_own_seeds(few), settings, at_least=60),
        row("vmap", of_own_seeds(many), settings, at_least=25),
        row("group", of_own_seeds(middle), settings, at_least=90),
        row("vmap-compiled", of_own_seeds(many), settings, at_least=90),
    ]
