"""Simulates a search on one GPU, in whose groups members hand on their slots, in groups that wait, and unfused.

The search is the real one (suggestions, rungs, verdicts); training is a clock and an invented learning curve. Unfused,
each process trains one member at a time, at the rate that so many have been measured at together: six of compiled steps
on an H100, metrics included (results/train_study_h100.json); four that only stepped, by CUDA graphs, had 533. A group's
rate is an assumption until a card has been measured: what the 834 MB of a model-iteration allow at 1.5 TB/s, empty
slots included.

    python benchmarks/search_groups.py --output benchmarks/results/search_groups.json
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import sys
from pathlib import Path

from larvae.config import MemberConfig
from larvae.files import save_json
from sweeps.adaptive.configurations import Rules
from sweeps.adaptive.halving import rungs
from sweeps.adaptive.sampling import Sampler, Suggestion
from sweeps.adaptive.searching import Search
from sweeps.adaptive.space import parse_space
from sweeps.tracking.provenance import git_commit

SPACE = parse_space(["tau=0.1:10:log", "gamma_tc=1:20:log"])
EVALUATE_EVERY = 500
WAYS = ("unfused", "groups that wait for their last member", "groups that hand on their slots")


def new_search(configurations: int, parallel: int, iterations: int) -> Search:
    """A search of one seed each, under halving."""
    sampler = Sampler(kind="random", space=SPACE, objectives=("mig",), seed=0)
    rules = Rules(
        configurations=configurations,
        seeds=1,
        first_seeds=1,
        parallel=parallel,
        iterations=iterations,
        rungs=rungs(EVALUATE_EVERY, 3, iterations, EVALUATE_EVERY),
        reduction=3,
        objectives=("mig",),
        reproducible=False,
    )

    def member(suggestion: Suggestion, seed: int) -> MemberConfig:
        return MemberConfig.from_dict({"held_out": 0.1, "seed": seed, **SPACE.fields(suggestion.point)})

    return Search(rules, sampler.suggest, member)


def held_out_mig(member: MemberConfig, iteration: int) -> float:
    """An invented learning curve: it rises to a quality that τ and γ_tc decide about, with the member's own noise."""
    quality = 1 - 0.4 * min(1.0, abs(math.log10(member.tau))) - 0.3 * abs(math.log(member.gamma_tc / 4))
    return quality * (1 - math.exp(-iteration / 2000)) + random.Random(member.content_hash).gauss(0, 0.02)


class Process:
    """A process that trains members together, a round of some iterations after the other."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.reached: dict[str, int] = {}
        self.members: dict[str, MemberConfig] = {}

    def take(self, search: Search, *, hands_on: bool) -> None:
        """Take members from the search: as slots are free or, of groups that wait, once all are."""
        if not hands_on and self.members:
            return
        while len(self.members) < self.slots and (job := search.next()) is not None:
            for member in job:
                self.members[member.content_hash], self.reached[member.content_hash] = member, 0

    def train(self, search: Search, iterations: int) -> None:
        """Train a round, and let go of members that have ended or lost."""
        for name, member in list(self.members.items()):
            self.reached[name] += EVALUATE_EVERY
            row = {"iteration": self.reached[name], "held_out_mig": held_out_mig(member, self.reached[name])}
            search.observe(name, [row])
            stopped_at = search.configuration_of(name).stopped_at
            if stopped_at is not None or self.reached[name] >= iterations:
                search.end(name, "finished" if stopped_at is None else "stopped", stopped_at)
                del self.members[name]


def seconds(way: str, arguments: argparse.Namespace) -> float:
    """Simulated seconds until the search has ended."""
    count, slots = (arguments.processes, 1) if way == WAYS[0] else (1, arguments.members)
    rate = arguments.rate_alone if way == WAYS[0] else arguments.rate_group
    search = new_search(arguments.configurations, count * slots, arguments.iterations)
    round_seconds = EVALUATE_EVERY * count * slots / rate  # an empty slot costs what a full one does
    processes = [Process(slots) for _ in range(count)]
    ticket = itertools.count()
    queue = [(0.0, next(ticket), process) for process in processes]
    last = 0.0
    while queue:
        now, _, process = heapq.heappop(queue)
        process.take(search, hands_on=way != WAYS[1])
        if process.members:
            process.train(search, arguments.iterations)
            last = now + round_seconds
            heapq.heappush(queue, (last, next(ticket), process))
        elif any(other.members for other in processes):  # waits for what others find
            heapq.heappush(queue, (now + round_seconds, next(ticket), process))
    return last


def main() -> None:
    """Simulate all ways, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=27_000)
    parser.add_argument("--processes", type=int, default=6, help="unfused")
    parser.add_argument("--rate-alone", type=float, default=217.6, help="model-iterations a second of these together")
    parser.add_argument("--members", type=int, default=8, help="slots of the group")
    parser.add_argument("--rate-group", type=float, default=1.5e12 / 834e6, help="model-iterations a second of it")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    times = {way: seconds(way, arguments) for way in WAYS}
    for way, time in times.items():
        print(f"{way:<40}{time / 60:>8.1f} min{times[WAYS[0]] / time:>8.2f} ×")
    if arguments.output:
        settings = {name: value for name, value in vars(arguments).items() if name != "output"}
        report = settings | {"command": " ".join(["python", *sys.argv]), "commit": git_commit(), "seconds": times}
        save_json(arguments.output, report)


if __name__ == "__main__":
    main()
