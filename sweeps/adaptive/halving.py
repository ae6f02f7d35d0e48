"""Stops losers early: asynchronous successive halving in its stopping form (Li et al., 2020; Ray Tune's ASHA)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeps.adaptive.configurations import Configuration, Rules
from sweeps.adaptive.objectives import dominates


def rungs(first: int, reduction: int, iterations: int, every: int) -> tuple[int, ...]:
    """Iterations first, first·reduction, first·reduction², … below the end, as multiples of `every`."""
    found = []
    rung = first
    while rung < iterations:
        found.append(math.ceil(rung / every) * every)
        rung *= reduction
    return tuple(rung for rung in dict.fromkeys(found) if rung < iterations)


def judge(configurations: Sequence[Configuration], rules: Rules) -> None:
    """Let configurations, in the order of their numbers, pass the rungs that they have reached, or stop there.

    Reproducible verdicts wait until all configurations before have reached the rung or ended, and know those and no
    later ones; others know what is there, and stand: what has trained beyond a rung has passed it.
    """
    for place, configuration in enumerate(configurations):
        while configuration.stopped_at is None and configuration.rungs_passed < len(rules.rungs):
            rung = rules.rungs[configuration.rungs_passed]
            peers = configurations[:place] if rules.reproducible else configurations
            if configuration.values_at(rung) is None:
                break
            if rules.reproducible and not all(_is_settled(peer, rung, rules) for peer in peers):
                break
            has_passed = not rules.reproducible and all(run.reached > rung for run in configuration.first)
            if has_passed or is_among_best(configuration, peers, rung, rules):
                configuration.rungs_passed += 1
            else:
                configuration.stopped_at = rung


def is_among_best(configuration: Configuration, peers: Sequence[Configuration], rung: int, rules: Rules) -> bool:
    """Tell whether fewer than 1/reduction of those at a rung, itself counted, are better."""
    own = configuration.values_at(rung)
    others = [peer.values_at(rung) for peer in peers if peer is not configuration and _takes_part(peer, rung)]
    values = [other for other in others if other is not None]
    assert own is not None
    better = sum(dominates(other, own, rules.objectives) for other in values)
    return better < math.ceil((len(values) + 1) / rules.reduction)


def _takes_part(peer: Configuration, rung: int) -> bool:
    """True unless it was stopped below the rung: it may have trained on while the verdict was open."""
    return peer.stopped_at is None or peer.stopped_at >= rung


def _is_settled(peer: Configuration, rung: int, rules: Rules) -> bool:
    """Tell whether it is certain what a configuration has at a rung, or that it never gets there."""
    if peer.stopped_at is not None:
        return True
    below = [other for other in rules.rungs if other < rung]
    if peer.rungs_passed < len(below):
        return peer.never_reaches(below[peer.rungs_passed])
    return peer.values_at(rung) is not None or peer.never_reaches(rung)
