"""Suggestions of a search: the points that Optuna's samplers choose, given what is known.

No Optuna study outlives a suggestion: each is asked of one that is made of what is known at that moment, with a
seed of the suggestion's own. So a suggestion is a function of its number and of the results it may know, and what
was stopped and goes on suggests what it would have suggested.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import qmc

from larvae.errors import InvalidInputError, require_known
from sweeps.adaptive.objectives import OBJECTIVES, Values, signs
from sweeps.adaptive.space import Point, Space

STARTUP = 8
"""Random configurations before a model of the objective is asked."""
OWN_ATTEMPTS = 10
"""Attempts at a number before it is drawn at random: a sampler that is sure of a point gives no other."""
LEARNING = ("tpe", "gp", "cmaes")
"""Samplers that learn from results."""
LEARNS_FROM_STOPPED = ("tpe", "sobol", "random")
"""Samplers that stopping does not mislead: TPE ranks stopped ones below finished ones, the others learn nothing."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Observation(NamedTuple):
    """An earlier suggestion, with what is known of it."""

    number: int
    point: Point
    attributes: dict[str, Any]
    """Attributes that the sampler left with it."""
    status: str
    """running, finished, stopped or failed."""
    values: Values
    """The objectives' means over seeds: at the end, or at the iteration where it was stopped; else none."""
    iteration: int
    """Iteration at which it was stopped."""


class Suggestion(NamedTuple):
    """A point to try, and what the sampler must be given back with it."""

    point: Point
    attributes: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """A way to choose points of a space. Raises InvalidInputError where the two do not fit."""

    kind: str
    """One of SAMPLERS."""
    space: Space
    objectives: tuple[str, ...]
    """One or two of OBJECTIVES."""
    seed: int

    def __post_init__(self) -> None:
        require_known("sampler", self.kind, SAMPLERS)
        for name in self.objectives:
            require_known("objectives", name, OBJECTIVES)
        if not 1 <= len(set(self.objectives)) == len(self.objectives):
            raise InvalidInputError(f"`objectives` must be mig, l2 or both, got {' '.join(self.objectives) or 'none'}")
        if self.kind == "cmaes":
            self._require_fit_for_cmaes()

    def suggest(self, number: int, known: Sequence[Observation], attempt: int = 0) -> Suggestion:
        """The point of a number, 0 for the first; other attempts at the same number give other points."""
        if self.kind == "sobol" and not attempt:
            return Suggestion(self._sobol_point(number), {})
        seed = _seed(self.seed, number, attempt)
        own_attempts = 1 if self.kind == "gp" else OWN_ATTEMPTS  # its optimum is the same again and again
        if attempt < own_attempts:
            sampler = SAMPLERS[self.kind](seed)
        else:
            sampler, known = RandomSampler(seed=seed), ()
        study = self.study(known, sampler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.ask(self.space.distributions())
        asked = study.trials[-1]
        return Suggestion(asked.params, asked.system_attrs)

    def study(self, known: Sequence[Observation], sampler: BaseSampler | None = None) -> optuna.Study:
        """An Optuna study of what is known."""
        directions = [OBJECTIVES[name] for name in self.objectives]
        study = optuna.create_study(directions=directions, sampler=sampler or RandomSampler())
        study.add_trials([self._trial(observation, known) for observation in known])
        return study

    def _trial(self, observation: Observation, known: Sequence[Observation]) -> FrozenTrial:
        values: dict[str, Any] = {}
        state = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}.get(
            observation.status, TrialState.RUNNING
        )
        if state == TrialState.COMPLETE:
            values["values"] = observation.values
        elif state == TrialState.PRUNED:
            if len(observation.values) == 1:  # TPE cannot compare stopped ones by two objectives
                values["intermediate_values"] = {observation.iteration: observation.values[0]}
        elif observation.status == "failed" and self.kind == "tpe" and len(self.objectives) == 1:
            state = TrialState.PRUNED  # without a value: TPE ranks it behind all that was stopped
        elif observation.status == "failed":  # as bad as the worst: it must not be tried again
            worst = self._worst(known)
            state = TrialState.COMPLETE if worst else TrialState.FAIL
            values["values"] = worst
        return create_trial(
            state=state,
            params=dict(observation.point),
            distributions=self.space.distributions(),
            system_attrs=dict(observation.attributes),
            **values,
        )

    def _worst(self, known: Sequence[Observation]) -> list[float] | None:
        finished = [observation.values for observation in known if observation.status == "finished"]
        if not finished:
            return None
        ends = [min if sign > 0 else max for sign in signs(self.objectives)]
        return [end(column) for end, column in zip(ends, zip(*finished, strict=True), strict=True)]

    def _sobol_point(self, number: int) -> Point:
        """A point of a scrambled Sobol sequence."""
        distributions = self.space.distributions()
        sequence = qmc.Sobol(len(distributions), rng=_seed(self.seed, 0, 0))
        if number:
            sequence.fast_forward(number)
        [unit] = sequence.random(1)
        return {name: _at(axis, share) for (name, axis), share in zip(distributions.items(), unit, strict=True)}

    def _require_fit_for_cmaes(self) -> None:
        advice = "use --sampler tpe"
        if len(self.objectives) > 1:
            raise InvalidInputError(f"`sampler` cmaes takes one objective, got {len(self.objectives)}: {advice}")
        choices = [n for n, axis in self.space.distributions().items() if isinstance(axis, CategoricalDistribution)]
        if choices:
            raise InvalidInputError(f"`sampler` cmaes takes ranges only, but {choices[0]} is a set of values: {advice}")
        if len(self.space.parameters) < 2:
            raise InvalidInputError(f"`sampler` cmaes takes two parameters or more, got {self.space}: {advice}")


def _seed(seed: int, number: int, attempt: int) -> int:
    """A seed of its own for each attempt at a suggestion."""
    digest = hashlib.sha256(f"{seed} {number} {attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _at(axis: Any, share: float) -> Any:
    """The value at a share in [0, 1) of an axis."""
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[int(share * len(axis.choices))]
    is_whole = isinstance(axis, optuna.distributions.IntDistribution)
    low, high = (axis.low - 0.5, axis.high + 0.5) if is_whole else (axis.low, axis.high)
    value = low * (high / low) ** share if axis.log else low + (high - low) * share
    return min(max(math.floor(value + 0.5), axis.low), axis.high) if is_whole else value


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(
        seed=seed,
        n_startup_trials=STARTUP,
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=True,
    )


def _gaussian_process(seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=STARTUP, deterministic_objective=False)


def _cma_es(seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gaussian_process,
    "cmaes": _cma_es,
    "sobol": RandomSampler,
    "random": RandomSampler,
}
"""Optuna's samplers by name, of a suggestion's seed; `sobol` is SciPy's sequence instead."""
