"""A study without Ray: workers of random speed train an invented objective, and may be killed at any event."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from larvae.config import MemberConfig
from larvae.member_directory import Row
from sweeps.adaptive.configurations import Rules
from sweeps.adaptive.sampling import Sampler, Suggestion
from sweeps.adaptive.searching import Search
from sweeps.adaptive.space import parse_space

SPACE = parse_space(["tau=0.1:10:log:zero", "gamma_tc=1:20:log"])
RULES = Rules(
    configurations=20,
    seeds=3,
    first_seeds=1,
    parallel=2,
    iterations=90,
    rungs=(10, 30),
    reduction=3,
    objectives=("mig",),
)


def quality(config: MemberConfig) -> float:
    """At most 1, at τ = 1 and γ_tc = 4; without label replacement .4 less than with the best."""
    tau_term = 0.4 if config.tau == 0 else 0.4 * min(1.0, abs(math.log10(config.tau)))
    return 1 - tau_term - 0.5 * abs(math.log(config.gamma_tc / 4))


def row_of(config: MemberConfig, iteration: int) -> Row:
    """A learning curve that rises to the quality, and noise of the seed; ℓ2 prefers small γ_tc."""
    noise = random.Random(f"{config.content_hash}").gauss(0, 0.02)
    mig = quality(config) * (1 - math.exp(-iteration / 20)) + noise
    return {"iteration": iteration, "mig": -9.0, "held_out_mig": mig, "held_out_l2": config.gamma_tc + noise}


Fails = Callable[[MemberConfig], int | None]
"""The iteration at which a member diverges, if it does."""


@dataclass
class Disk:
    """All that survives a killed process."""

    suggestions: list[Suggestion] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    ends: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    trained: int = 0
    """Iterations that were ever trained."""


class KilledError(Exception):
    """The process is gone."""


def new_search(rules: Rules, disk: Disk, kind: str = "tpe", space: object = SPACE) -> Search:
    sampler = Sampler(kind=kind, space=space, objectives=rules.objectives, seed=0)  # type: ignore[arg-type]

    def member(suggestion: Suggestion, seed: int) -> MemberConfig:
        return MemberConfig(held_out=0.1, seed=seed, **sampler.space.fields(suggestion.point))  # type: ignore[arg-type]

    def remember(number: int, suggestion: Suggestion) -> None:
        assert number == len(disk.suggestions)
        disk.suggestions.append(suggestion)

    return Search(rules, sampler.suggest, member, list(disk.suggestions), remember)


def simulate(
    rules: Rules,
    timing: random.Random,
    disk: Disk | None = None,
    *,
    kill_after: float = math.inf,
    fails: Fails = lambda config: None,
    kind: str = "tpe",
    space: object = SPACE,
    evaluate_every: int = 10,
) -> Search:
    """Run a search to its end, or until it is killed after some events. Workers take turns at random."""
    disk = disk if disk is not None else Disk()
    search = new_search(rules, disk, kind, space)
    training: dict[str, MemberConfig] = {}
    for event in itertools.count():
        _start_all(search, disk, training)
        if not training:
            assert search.is_done
            return search
        if event >= kill_after:
            raise KilledError
        _train(search, disk, training, timing.choice(list(training)), fails, evaluate_every)
        _stop_losers(search, disk, training)
    raise AssertionError("unreachable")


def _start_all(search: Search, disk: Disk, training: dict[str, MemberConfig]) -> None:
    """Start what the search asks for; what has ended on disk is told to it."""
    while (members := search.next()) is not None:
        for member in members:
            name = member.content_hash
            rows = disk.rows.setdefault(name, [])
            search.observe(name, rows)
            status, rung = disk.ends.get(name, ("open", None))
            is_at_the_end = bool(rows) and rows[-1]["iteration"] >= search.rules.iterations
            if status in ("stopped", "failed") or is_at_the_end:
                search.end(name, status, rung)
            else:
                disk.ends.pop(name, None)  # it may have finished at fewer iterations
                training[name] = member


def _train(
    search: Search, disk: Disk, training: dict[str, MemberConfig], name: str, fails: Fails, evaluate_every: int
) -> None:
    """Train one member to its next row, and to its end if that is there."""
    member, rows = training[name], disk.rows[name]
    iteration = int(rows[-1]["iteration"] if rows else 0) + evaluate_every
    disk.trained += evaluate_every
    if (broken := fails(member)) is not None and iteration > broken:
        disk.ends[name] = ("failed", None)
    else:
        rows.append(row_of(member, iteration))
        search.observe(name, rows[-1:])
        if iteration >= search.rules.iterations:
            disk.ends[name] = ("finished", None)
    if name in disk.ends:
        search.end(name, disk.ends[name][0])
        del training[name]


def _stop_losers(search: Search, disk: Disk, training: dict[str, MemberConfig]) -> None:
    """Stop the members of configurations that were none of the best."""
    for name, member in list(training.items()):
        rung = search.configuration_of(name).stopped_at
        if rung is not None and member.seed < search.rules.first_seeds:
            disk.ends[name] = ("stopped", rung)
            search.end(name, "stopped", rung)
            del training[name]


def with_(**changes: object) -> Rules:
    return dataclasses.replace(RULES, **changes)
