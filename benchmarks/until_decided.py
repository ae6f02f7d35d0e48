"""Stopping once a claim is decided, by simulation: how often it errs, and how many members it spares.

    python benchmarks/until_decided.py --output benchmarks/results/until_decided.json

Of a claim with one number, such as `outperforms` with MIG alone: seeds give normal differences of a known mean and
standard deviation; rounds, levels and tests are those of `--until-decided`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from larvae.errors import InvalidInputError
from larvae.files import save_json
from sweeps.analysis import script
from sweeps.analysis.claims.contrasts import MARGIN
from sweeps.analysis.claims.evidence import Bounds, of_mean
from sweeps.tracking.provenance import git_commit
from sweeps.until_decided import looks

EFFECTS = (-0.05, 0.0, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Simulate claims that are decided a round at a time."""

    simulations: int = 4_000
    """Simulated studies of each effect."""
    spread: float = 0.04
    """Standard deviation, over seeds, of the difference: .04 is about that of the kept studies."""
    seeds: int = 10
    """Most seeds."""
    seeds_a_round: int = 1
    """Seeds that a round adds to the first three."""
    output: Path | None = None
    """JSON file that the numbers are written to."""

    def __post_init__(self) -> None:
        for name in ("simulations", "spread", "seeds_a_round"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"`{name}` must be > 0, got {getattr(self, name)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, run, arguments)


def run(arguments: Arguments) -> None:
    """Simulate, and print and write what came of it."""
    rows = [simulate(effect, arguments) for effect in EFFECTS]
    command = " ".join(["python", "benchmarks/until_decided.py", *sys.argv[1:]])
    found = {"rows": rows, "command": command, "commit": git_commit()}
    print(json.dumps(found, indent=1))
    if arguments.output:
        save_json(arguments.output, found)


def simulate(effect: float, arguments: Arguments) -> dict[str, Any]:
    """Shares of verdicts, and of members spared, where a claim's number has this mean."""
    draw = np.random.default_rng(0)
    verdicts, used = [], []
    for _ in range(arguments.simulations):
        verdict, seeds = _one(draw.normal(effect, arguments.spread, arguments.seeds), arguments)
        verdicts.append(verdict)
        used.append(seeds)
    shares = {name: round(verdicts.count(name) / len(verdicts), 4) for name in ("holds", "does not", "undecided")}
    return {"effect": effect, **shares, "spared": round(1 - float(np.mean(used)) / arguments.seeds, 3)}


def _one(values: np.ndarray, arguments: Arguments) -> tuple[str, int]:
    """The verdict on one study, and the seeds that it took."""
    for look in looks(arguments.seeds, arguments.seeds_a_round):
        evidence = of_mean("", list(values[: look.seeds]), Bounds(0.0, MARGIN))
        if evidence.p_holds <= look.level:
            return "holds", look.seeds
        if evidence.p_fails <= look.level:
            return "does not", look.seeds
    return "undecided", arguments.seeds


if __name__ == "__main__":
    sys.exit(main())
