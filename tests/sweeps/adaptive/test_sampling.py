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
from optuna.trial import TrialState
from scipy.stats import qmc

from larvae.errors import InvalidInputError
from sweeps.adaptive.objectives import OBJECTIVES
from sweeps.adaptive.sampling import OWN_ATTEMPTS, SAMPLERS, STARTUP, Observation, Sampler, Suggestion
from sweeps.adaptive.space import Point, Space, parse_space

RANGES = parse_space(["tau=0.1:10:log:zero", "gamma_tc=1:20:log", "z_dim=1:10", "alpha=0:64"])
SETS = parse_space(["tau=0.1:10:log:zero", "z_dim=2,5,10", "label_rate=0.01,0.02"])
PLANE = parse_space(["tau=0.1:10:log", "gamma_tc=1:20:log"])
FITTING = [(kind, ("mig",)) for kind in SAMPLERS] + [(kind, ("mig", "l2")) for kind in SAMPLERS if kind != "cmaes"]
"""Samplers with objectives that they can optimise."""
fitting = pytest.mark.parametrize(("kind", "objectives"), FITTING)


def sampler_of(kind: str, objectives: tuple[str, ...] = ("mig",), seed: int = 0, space: Space | None = None) -> Sampler:
    return Sampler(kind=kind, space=space or (RANGES if kind == "cmaes" else SETS), objectives=objectives, seed=seed)


def distance(point: Point) -> float:
    """From the best point of PLANE, τ = 0.3 and γ_tc = 10, which is not in its middle."""
    return 0.4 * abs(math.log10(point["tau"] / 0.3)) + 0.5 * abs(math.log(point["gamma_tc"] / 10))


def history(sampler: Sampler, count: int) -> list[Observation]:
    """Configurations of all ends, of which MIG and ℓ2 fall with τ; all but CMA-ES are told of random ones."""
    source = sampler if sampler.kind == "cmaes" else dataclasses.replace(sampler, kind="random")
    known: list[Observation] = []
    for number in range(count):
        suggestion = source.suggest(number, known)
        fall = math.log(1 + suggestion.point["tau"])
        values = tuple({"mig": 1 - fall, "l2": 2 - fall}[name] for name in sampler.objectives)
        known.append(Observation(number, *suggestion, "finished", values, 0))
    ends = itertools.cycle(["finished", "finished", "stopped", "finished", "running", "failed"])
    return [
        o._replace(
            status=end, values=o.values if end in ("finished", "stopped") else (), iteration=30 * (end == "stopped")
        )
        for o, end in zip(known, ends, strict=False)
    ]


def after_json(known: Sequence[Observation]) -> list[Observation]:
    """As another process finds it on disk."""
    suggestions = [json.loads(json.dumps([observation.point, observation.attributes])) for observation in known]
    return [o._replace(point=point, attributes=left) for o, (point, left) in zip(known, suggestions, strict=True)]


@fitting
def test_points_lie_in_the_space_and_are_a_function_of_what_is_known(kind: str, objectives: tuple[str, ...]) -> None:
    """In another process, too, and whatever else draws random numbers."""
    sampler = sampler_of(kind, objectives)
    axes = sampler.space.distributions()
    for count, attempt in ((0, 0), (3, 0), (STARTUP + 2, 0), (STARTUP + 2, 1), (STARTUP + 2, OWN_ATTEMPTS)):
        known = history(sampler, count)
        first = sampler.suggest(count, known, attempt)
        assert first.point.keys() == axes.keys()
        for name, value in first.point.items():
            assert axes[name]._contains(axes[name].to_internal_repr(value)), name
        assert Suggestion(*json.loads(json.dumps(first))) == first
        random.seed(count)
        np.random.seed(count)  # noqa: NPY002
        again = sampler_of(kind, objectives).suggest(count, after_json(known), attempt)
        assert (again.point, again.attributes.keys()) == (first.point, first.attributes.keys())


@fitting
def test_numbers_seeds_and_attempts_give_different_points(kind: str, objectives: tuple[str, ...]) -> None:
    """Even where all have failed or are running; PLANE is so fine that points are never the same by chance."""
    sampler = sampler_of(kind, objectives, space=PLANE)
    known = history(sampler, 2)
    suggestions = [sampler_of(kind, objectives, seed, PLANE).suggest(2, known) for seed in (1, 2, 3)]
    suggestions += [sampler.suggest(2, known, attempt) for attempt in (1, 2, OWN_ATTEMPTS, OWN_ATTEMPTS + 1)]
    known = []
    for number in range(STARTUP + 3):
        suggestions.append(sampler.suggest(number, known))
        known.append(Observation(number, *suggestions[-1], ("failed", "running")[number % 2], (), 0))
    assert len({tuple(suggestion.point.values()) for suggestion in suggestions}) == len(suggestions)


# CMA-ES has a state, which it leaves with its suggestions


def test_cma_es_goes_on_from_what_it_left_and_has_converged_by_it() -> None:
    """Its mean and covariance come from there: without, it begins again."""
    known: list[Observation] = []
    sampler = sampler_of("cmaes", space=PLANE)
    for number in range(60):
        suggestion = sampler.suggest(number, known)
        known.append(Observation(number, *suggestion, "finished", (1 - distance(suggestion.point),), 0))
    for number in (10, 20, 29):
        rebuilt = sampler_of("cmaes", space=PLANE)
        assert rebuilt.suggest(number, after_json(known[:number])).point == known[number].point

    def spread(known: list[Observation]) -> float:
        points = [sampler.suggest(len(known), known, attempt).point for attempt in range(OWN_ATTEMPTS)]
        return statistics.fmean(distance(point) for point in points)

    assert spread(known) < 0.15 < 0.3 < spread([observation._replace(attributes={}) for observation in known])


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    refused: list[tuple[dict[str, object], str]] = [
        ({"kind": "annealing"}, "`sampler` must be one of tpe, gp, cmaes, sobol, random, got annealing"),
        ({"objectives": ("mig", "fid")}, "`objectives` must be one of mig, l2, got fid"),
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
    ]
    for change, message in refused:
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
    Observation(5, POINT, {}, "stopped", (), 30),
]
"""Values of MIG and ℓ2. Of each, another one of the finished ones is the worst, and the stopped one is worse still."""


@pytest.mark.parametrize(("objectives", "columns"), [(("mig",), [0]), (("l2",), [1]), (("mig", "l2"), [0, 1])])
def test_ends_are_told_as_what_they_are_and_a_failure_as_the_worst_that_finished(
    objectives: tuple[str, ...], columns: list[int]
) -> None:
    known = [o._replace(values=tuple(o.values[c] for c in columns if o.values)) for o in ENDS]
    study = sampler_of("gp", objectives, space=PLANE).study(known)
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.COMPLETE]
    assert [trial.state for trial in study.trials[:5]] == states
    assert study.directions == [OBJECTIVES[name] for name in objectives]
    assert [tuple(trial.values) for trial in study.trials[:2]] == [o.values for o in known[:2]]
    assert study.trials[4].values == [{"mig": 0.2, "l2": 0.3}[name] for name in objectives]
    if len(objectives) == 1:
        assert study.trials[2].intermediate_values == {30: known[2].values[0]}
    nothing_finished = sampler_of("gp", objectives, space=PLANE).study(known[3:5])
    assert [trial.state for trial in nothing_finished.trials] == [TrialState.RUNNING, TrialState.FAIL]


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_what_fails_is_no_better_than_what_was_stopped_however_few_have_finished(finished: int) -> None:
    """TPE takes finished ones for the best, whatever their values: a failure must not be one of them."""
    points = [{"tau": 10 ** (4 * k / 59 - 3), "gamma_tc": 4.0} for k in range(60)]
    known = [
        Observation(k, point, {}, "failed", (), 0)
        if point["tau"] > 1
        else Observation(k, point, {}, "finished" if k < finished else "stopped", (0.2,), 99 if k < finished else 30)
        for k, point in enumerate(points)
    ]
    space = parse_space(["tau=0.001:10:log", "gamma_tc=1:20:log"])
    sampler = sampler_of("tpe", ("mig",), space=space)
    suggested = [sampler.suggest(number, known).point["tau"] for number in range(60, 90)]
    assert sum(tau > 1 for tau in suggested) <= 3


# Sobol' points fill the space


def in_unit_square(points: Sequence[Point], space: Space) -> np.ndarray:
    axes = space.distributions()
    return np.array([[math.log(p[n] / a.low) / math.log(a.high / a.low) for n, a in axes.items()] for p in points])


def test_sobol_points_fill_the_space_and_give_each_part_of_an_axis_its_share() -> None:
    """Equal parts of 2^k first points: of numbers, of whole numbers, of logarithms and of sets."""
    discrepancies = {
        kind: [
            qmc.discrepancy(in_unit_square([sampler.suggest(n, []).point for n in range(32)], PLANE))
            for sampler in (sampler_of(kind, seed=seed, space=PLANE) for seed in range(3))
        ]
        for kind in ("sobol", "random")
    }
    assert 3 * max(discrepancies["sobol"]) < min(discrepancies["random"])
    space = parse_space(["tau=0.1:10:log:zero", "alpha=0:64", "z_dim=1:8", "label_rate=0.01,0.02,0.1,1"])
    points = [sampler_of("sobol", seed=1, space=space).suggest(number, []).point for number in range(16)]
    assert sorted(int(point["alpha"] / 4) for point in points) == list(range(16))
    unit = in_unit_square([{"tau": point["tau"]} for point in points], Space({"tau": space.parameters["tau"]}))
    assert sorted((unit[:, 0] * 16).astype(int)) == list(range(16))
    assert Counter(point["z_dim"] for point in points) == dict.fromkeys(range(1, 9), 2)
    assert Counter(point["label_rate"] for point in points) == dict.fromkeys((0.01, 0.02, 0.1, 1), 4)


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


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "objective"), [("tpe", "mig"), ("cmaes", "l2")])
def test_samplers_that_learn_find_the_optimum_better_than_chance(kind: str, objective: str) -> None:
    learned = [found(kind, seed, 30, objective) for seed in range(8)]
    chance = [found("random", seed, 30) for seed in range(20)]
    nearest, nearest_by_chance = (statistics.fmean(min(d) for d in runs) for runs in (learned, chance))
    assert nearest < 0.75 * nearest_by_chance
    late, late_by_chance = (statistics.fmean(statistics.fmean(d[-5:]) for d in runs) for runs in (learned, chance))
    assert late < 0.75 * late_by_chance


def test_gaussian_process_knows_where_the_optimum_is() -> None:
    """After a few random points, nearer to it than the nearest of these."""
    points = [sampler_of("random", seed=5, space=PLANE).suggest(number, []).point for number in range(20)]
    for objective, sign in (("mig", -1), ("l2", 1)):
        known = [Observation(n, point, {}, "finished", (sign * distance(point),), 0) for n, point in enumerate(points)]
        suggestion = sampler_of("gp", (objective,), space=PLANE).suggest(20, known)
        assert distance(suggestion.point) < min(distance(point) for point in points)
