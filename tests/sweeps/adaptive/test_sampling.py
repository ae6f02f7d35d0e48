"""Suggestions: in the space, the same for the same knowledge, and better than chance where a sampler learns."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import re
import statistics
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState
from scipy.spatial.distance import pdist
from scipy.stats import qmc

from larvae.errors import InvalidInputError
from sweeps.adaptive.objectives import OBJECTIVES
from sweeps.adaptive.sampling import (
    OWN_ATTEMPTS,
    SAMPLERS,
    STARTUP,
    Observation,
    Sampler,
    Suggestion,
)
from sweeps.adaptive.space import Point, Space, parse_space

RANGES = parse_space(["tau=0.1:10:log:zero", "gamma_tc=1:20:log", "z_dim=1:10", "alpha=0:64"])
SETS = parse_space(["tau=0.1:10:log:zero", "z_dim=2,5,10", "label_rate=0.01,0.02"])
PLANE = parse_space(["tau=0.1:10:log", "gamma_tc=1:20:log"])
FITTING = [
    (kind, objectives)
    for kind in SAMPLERS
    for objectives in (("mig",), ("l2",), ("mig", "l2"))
    if kind != "cmaes" or len(objectives) == 1
]
"""Samplers with objectives that they can optimise."""


def sampler_of(kind: str, objectives: tuple[str, ...] = ("mig",), seed: int = 0, space: Space | None = None) -> Sampler:
    if space is None:
        space = RANGES if kind == "cmaes" else SETS
    return Sampler(kind=kind, space=space, objectives=objectives, seed=seed)


def distance(point: Point) -> float:
    """From the best point of PLANE, τ = 0.3 and γ_tc = 10, which is not in its middle."""
    return 0.4 * abs(math.log10(point["tau"] / 0.3)) + 0.5 * abs(math.log(point["gamma_tc"] / 10))


def finished(number: int, suggestion: Suggestion, objectives: Sequence[str]) -> Observation:
    """MIG falls with τ, and so does ℓ2."""
    values = {"mig": 1 - math.log(1 + suggestion.point["tau"]), "l2": 2 - math.log(1 + suggestion.point["tau"])}
    return Observation(number, *suggestion, "finished", tuple(values[name] for name in objectives), 0)


def with_status(observation: Observation, status: str) -> Observation:
    values = observation.values if status in ("finished", "stopped") else ()
    return observation._replace(status=status, values=values, iteration=30 if status == "stopped" else 0)


def history(sampler: Sampler, count: int) -> list[Observation]:
    """Configurations of all ends; a sampler that remembers nothing with them is told of random ones."""
    source = sampler if sampler.kind == "cmaes" else dataclasses.replace(sampler, kind="random")
    known: list[Observation] = []
    for number in range(count):
        known.append(finished(number, source.suggest(number, known), sampler.objectives))
    statuses = ("finished", "finished", "stopped", "finished", "running", "failed")
    return [with_status(observation, statuses[i % len(statuses)]) for i, observation in enumerate(known)]


def after_json(known: Sequence[Observation]) -> list[Observation]:
    """As another process finds it on disk."""
    suggestions = [json.loads(json.dumps([observation.point, observation.attributes])) for observation in known]
    return [o._replace(point=point, attributes=left) for o, (point, left) in zip(known, suggestions, strict=True)]


# What a suggestion is


@pytest.mark.parametrize(("kind", "objectives"), FITTING)
def test_points_lie_in_the_space(kind: str, objectives: tuple[str, ...]) -> None:
    """At the beginning and with all kinds of ends known; and JSON remembers them."""
    sampler = sampler_of(kind, objectives)
    axes = sampler.space.distributions()
    for count in (0, 1, 3, STARTUP + 5):
        suggestion = sampler.suggest(count, history(sampler, count))
        assert suggestion.point.keys() == axes.keys()
        for name, value in suggestion.point.items():
            assert axes[name]._contains(axes[name].to_internal_repr(value)), name
        assert Suggestion(*json.loads(json.dumps(suggestion))) == suggestion


@pytest.mark.parametrize("attempt", [0, 1, OWN_ATTEMPTS])
@pytest.mark.parametrize(("kind", "objectives"), FITTING)
def test_the_same_knowledge_gives_the_same_suggestion(kind: str, objectives: tuple[str, ...], attempt: int) -> None:
    """In another process, too, and whatever else draws random numbers."""
    sampler = sampler_of(kind, objectives)
    known = history(sampler, STARTUP + 2)
    first = sampler.suggest(len(known), known, attempt)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    again = sampler_of(kind, objectives).suggest(len(known), after_json(known), attempt)
    assert again.point == first.point
    assert again.attributes.keys() == first.attributes.keys()
    assert kind == "cmaes" or again == first  # its state has room for more, with whatever lay there in memory


@pytest.mark.parametrize(("kind", "objectives"), FITTING)
def test_numbers_seeds_and_attempts_give_different_points(kind: str, objectives: tuple[str, ...]) -> None:
    space = PLANE  # so fine that two points are never the same by chance
    sampler = sampler_of(kind, objectives, space=space)
    known = history(sampler, 2)
    suggestions = [sampler.suggest(number, known) for number in range(2, 12)]
    suggestions += [sampler_of(kind, objectives, seed, space).suggest(2, known) for seed in (1, 2, 3)]
    suggestions += [sampler.suggest(2, known, attempt) for attempt in (1, 2, OWN_ATTEMPTS, OWN_ATTEMPTS + 1)]
    assert len({tuple(suggestion.point.values()) for suggestion in suggestions}) == len(suggestions)


@pytest.mark.parametrize("kind", [kind for kind in SAMPLERS if kind != "cmaes"])  # which has no small spaces
def test_attempts_reach_all_of_a_small_space(kind: str) -> None:
    """However sure a sampler is of one point: the search tries until it has one that is not there yet."""
    sampler = sampler_of(kind, space=parse_space(["z_dim=1:8", "tau=0,1"]))
    known = [
        Observation(number, {"z_dim": z_dim, "tau": tau}, {}, "finished", (float(z_dim == 3 and tau == 1),), 0)
        for number, (z_dim, tau) in enumerate(3 * list(itertools.product(range(1, 9), (0.0, 1.0))))
    ]
    points = [sampler.suggest(len(known), known, attempt).point for attempt in range(100)]
    assert len({(point["z_dim"], point["tau"]) for point in points}) == 16


@pytest.mark.parametrize("kind", ["gp", "sobol"])
def test_what_has_one_point_only_is_random_when_it_is_tried_again(kind: str) -> None:
    sampler, chance = sampler_of(kind), sampler_of("random")
    known = history(sampler, STARTUP + 4)
    assert sampler.suggest(12, known, 1) == chance.suggest(12, known, 1)
    assert sampler.suggest(12, known) != chance.suggest(12, known)


def test_random_points_know_nothing() -> None:
    sampler = sampler_of("random")
    assert sampler.suggest(7, history(sampler, 7)) == sampler.suggest(7, [])


@pytest.mark.parametrize(("kind", "count"), [("tpe", 40), ("gp", STARTUP + 4)])
def test_samplers_that_learn_do_not_ignore_what_is_known(kind: str, count: int) -> None:
    sampler = sampler_of(kind, space=PLANE)
    known = history(sampler, count)
    mirrored = [o._replace(values=tuple(-value for value in o.values)) for o in known]
    assert sampler.suggest(count, known).point != sampler.suggest(count, mirrored).point


# CMA-ES has a state, which it leaves with its suggestions


def cma_es(count: int, seed: int = 0) -> list[Observation]:
    sampler = sampler_of("cmaes", seed=seed, space=PLANE)
    known: list[Observation] = []
    for number in range(count):
        suggestion = sampler.suggest(number, known)
        known.append(Observation(number, *suggestion, "finished", (1 - distance(suggestion.point),), 0))
    return known


def test_cma_es_goes_on_from_what_it_left() -> None:
    known = cma_es(30)
    assert any(observation.attributes for observation in known)
    assert [observation.point for observation in cma_es(20)] == [observation.point for observation in known[:20]]
    rebuilt = sampler_of("cmaes", space=PLANE)
    for number in (10, 20, 29):
        assert rebuilt.suggest(number, after_json(known[:number])).point == known[number].point


def test_cma_es_has_converged_by_what_it_left_and_not_without() -> None:
    """Its mean and covariance come from there: without, it begins again."""

    def spread(known: list[Observation]) -> float:
        sampler = sampler_of("cmaes", space=PLANE)
        points = [sampler.suggest(len(known), known, attempt).point for attempt in range(OWN_ATTEMPTS)]
        return statistics.fmean(distance(point) for point in points)

    known = cma_es(60)
    forgotten = [observation._replace(attributes={}) for observation in known]
    assert spread(known) < 0.15 < 0.3 < spread(forgotten)


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "annealing"}, "`sampler` must be one of tpe, gp, cmaes, sobol, random, got annealing"),
        ({"objectives": ("mig", "fid")}, "`objectives` must be one of mig, l2, got fid"),
        ({"objectives": ()}, "`objectives` must be mig, l2 or both, got none"),
        ({"objectives": ("mig", "mig")}, "`objectives` must be mig, l2 or both, got mig mig"),
        (
            {"kind": "cmaes", "space": RANGES, "objectives": ("mig", "l2")},
            "`sampler` cmaes takes one objective, got 2: use --sampler tpe",
        ),
        (
            {"kind": "cmaes", "space": SETS},
            "`sampler` cmaes takes ranges only, but z_dim is a set of values: use --sampler tpe",
        ),
        (
            {"kind": "cmaes", "space": parse_space(["tau=0.1:10:log"])},
            "`sampler` cmaes takes two parameters or more, got tau=0.1:10:log: use --sampler tpe",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{re.escape(message)}$"):
        dataclasses.replace(sampler_of("tpe"), **change)


# What a sampler is told


POINT = {"tau": 1.0, "gamma_tc": 4.0}
ENDS = [
    Observation(0, POINT, {}, "finished", (0.5, 0.3), 0),
    Observation(1, POINT, {}, "finished", (0.2, 0.1), 0),
    Observation(2, POINT, {}, "stopped", (0.1, 0.9), 30),
    Observation(3, POINT, {}, "running", (), 0),
    Observation(4, POINT, {}, "failed", (), 0),
]
"""Values of MIG and ℓ2. Of each, another one of the finished ones is the worst, and the stopped one is worse still."""


@pytest.mark.parametrize(("objectives", "columns"), [(("mig",), [0]), (("l2",), [1]), (("mig", "l2"), [0, 1])])
def test_ends_are_told_as_what_they_are(objectives: tuple[str, ...], columns: list[int]) -> None:
    known = [o._replace(values=tuple(o.values[c] for c in columns if o.values)) for o in ENDS]
    study = sampler_of("tpe", objectives, space=PLANE).study(known)
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.COMPLETE]
    assert [trial.state for trial in study.trials] == states
    assert study.directions == [OBJECTIVES[name] for name in objectives]
    for trial, observation in zip(study.trials[:2], known, strict=False):
        assert tuple(trial.values) == observation.values
    worst = {"mig": 0.2, "l2": 0.3}
    assert study.trials[4].values == [worst[name] for name in objectives]
    if len(objectives) == 1:
        assert study.trials[2].intermediate_values == {30: known[2].values[0]}


@pytest.mark.parametrize(("kind", "objectives"), [f for f in FITTING if f[0] in ("tpe", "cmaes")])
def test_a_failure_counts_as_the_worst_that_finished(kind: str, objectives: tuple[str, ...]) -> None:
    sampler = sampler_of(kind, objectives, space=PLANE)
    known = history(sampler, 14)
    columns = zip(*(o.values for o in known if o.status == "finished"), strict=True)
    worst = tuple({"mig": min, "l2": max}[name](column) for name, column in zip(objectives, columns, strict=True))
    told = [o._replace(status="finished", values=worst) if o.status == "failed" else o for o in known]
    assert told != known
    assert sampler.suggest(14, known) == sampler.suggest(14, told)


def test_failures_are_no_values_while_nothing_has_finished() -> None:
    study = sampler_of("tpe", space=PLANE).study(ENDS[3:])
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING, TrialState.FAIL]


@pytest.mark.parametrize("kind", SAMPLERS)
def test_points_come_even_where_all_have_failed_or_are_running(kind: str) -> None:
    sampler = sampler_of(kind, space=PLANE)
    known: list[Observation] = []
    for number in range(STARTUP + 4):
        suggestion = sampler.suggest(number, known)
        known.append(Observation(number, *suggestion, ("failed", "running")[number % 2], (), 0))
    assert len({tuple(observation.point.values()) for observation in known}) == STARTUP + 4


def test_stopped_ones_without_a_value_are_told() -> None:
    """Such as one that was stopped before it had all of its seeds."""
    known = [o._replace(values=()) if o.status == "stopped" else o for o in history(sampler_of("tpe"), 14)]
    assert sampler_of("tpe").suggest(14, known).point.keys() == SETS.parameters.keys()


# Sobol' points fill the space


def in_unit_square(points: Sequence[Point], space: Space) -> np.ndarray:
    axes = space.distributions()
    return np.array([[math.log(p[n] / a.low) / math.log(a.high / a.low) for n, a in axes.items()] for p in points])


def test_sobol_points_fill_the_space_better_than_random_ones() -> None:
    discrepancies = {
        kind: [
            qmc.discrepancy(in_unit_square([sampler.suggest(n, []).point for n in range(32)], PLANE))
            for sampler in (sampler_of(kind, seed=seed, space=PLANE) for seed in range(5))
        ]
        for kind in ("sobol", "random")
    }
    assert 3 * max(discrepancies["sobol"]) < min(discrepancies["random"])


@pytest.mark.parametrize("seed", range(3))
def test_sobol_points_give_each_part_of_an_axis_its_share(seed: int) -> None:
    """Equal parts of 2^k first points: of numbers, of whole numbers, of logarithms and of sets."""
    space = parse_space(["tau=0.1:10:log:zero", "alpha=0:64", "z_dim=1:8", "label_rate=0.01,0.02,0.1,1"])
    sampler = sampler_of("sobol", seed=seed, space=space)
    points = [sampler.suggest(number, []).point for number in range(16)]
    assert sorted(int(point["alpha"] / 4) for point in points) == list(range(16))
    unit = in_unit_square([{"tau": point["tau"]} for point in points], Space({"tau": space.parameters["tau"]}))
    assert sorted((unit[:, 0] * 16).astype(int)) == list(range(16))
    assert Counter(point["z_dim"] for point in points) == dict.fromkeys(range(1, 9), 2)
    assert Counter(point["label_rate"] for point in points) == dict.fromkeys((0.01, 0.02, 0.1, 1), 4)


def test_sobol_and_random_points_reach_both_ends_of_whole_numbers() -> None:
    for kind in ("sobol", "random"):
        sampler = sampler_of(kind, space=parse_space(["z_dim=3:6:log", "alpha=0:1"]))
        values = {sampler.suggest(number, []).point["z_dim"] for number in range(64)}
        assert values == {3, 4, 5, 6}
    axes = parse_space(["z_dim=3:6:log", "tau=0,1"]).distributions()
    assert isinstance(axes["z_dim"], IntDistribution)
    assert isinstance(axes["tau"], CategoricalDistribution)


# What samplers find


def found(kind: str, seed: int, count: int, objective: str = "mig") -> list[float]:
    """Distances from the best point, in the order of suggestions."""
    sampler = sampler_of(kind, (objective,), seed, PLANE)
    known: list[Observation] = []
    for number in range(count):
        suggestion = sampler.suggest(number, known)
        value = distance(suggestion.point) if objective == "l2" else 1 - distance(suggestion.point)
        known.append(Observation(number, *suggestion, "finished", (value,), 0))
    return [distance(observation.point) for observation in known]


@pytest.mark.parametrize(("kind", "objective"), [("tpe", "mig"), ("tpe", "l2"), ("cmaes", "mig"), ("cmaes", "l2")])
def test_samplers_that_learn_find_the_optimum_better_than_chance(kind: str, objective: str) -> None:
    learned = [found(kind, seed, 30, objective) for seed in range(8)]
    chance = [found("random", seed, 30) for seed in range(20)]
    nearest, nearest_by_chance = (statistics.fmean(min(d) for d in runs) for runs in (learned, chance))
    assert nearest < 0.75 * nearest_by_chance
    late, late_by_chance = (statistics.fmean(statistics.fmean(d[-5:]) for d in runs) for runs in (learned, chance))
    assert late < 0.75 * late_by_chance


@pytest.mark.parametrize("objective", ["mig", "l2"])
def test_gaussian_process_knows_where_the_optimum_is(objective: str) -> None:
    """After a few random points, nearer to it than the nearest of these."""
    sampler = sampler_of("gp", (objective,), space=PLANE)
    points = [sampler_of("random", seed=5, space=PLANE).suggest(number, []).point for number in range(20)]
    sign, offset = (1, 0) if objective == "l2" else (-1, 1)
    known = [
        Observation(number, point, {}, "finished", (offset + sign * distance(point),), 0)
        for number, point in enumerate(points)
    ]
    assert distance(sampler.suggest(20, known).point) < min(distance(point) for point in points)


def test_jobs_at_once_do_not_all_try_the_same() -> None:
    """TPE keeps away from what it is told to be in training."""

    def spread(seed: int, *, is_told: bool) -> float:
        sampler = sampler_of("tpe", seed=seed, space=PLANE)
        known: list[Observation] = []
        for number in range(30):
            suggestion = sampler.suggest(number, known)
            known.append(Observation(number, *suggestion, "finished", (1 - distance(suggestion.point),), 0))
        points = []
        for number in range(30, 40):
            suggestion = sampler.suggest(number, known)
            points.append(suggestion.point)
            if is_told:
                known.append(Observation(number, *suggestion, "running", (), 0))
        return float(pdist(in_unit_square(points, PLANE)).mean())

    told, untold = (statistics.fmean(spread(seed, is_told=is_told) for seed in range(8)) for is_told in (True, False))
    assert told > 1.1 * untold
