"""The study of a search, from its command line: the members that it may have, and the state that chooses them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from larvae import datasets
from larvae.config import MemberConfig
from sweeps.adaptive.configurations import Configuration, Rules
from sweeps.adaptive.sampling import Sampler, Suggestion
from sweeps.adaptive.search_options import SearchOptions
from sweeps.adaptive.searching import Search
from sweeps.adaptive.space import Space
from sweeps.adaptive.suggestion_log import SuggestionLog
from sweeps.study import Study
from sweeps.tracking import mlflow_names


@dataclass(frozen=True, slots=True)
class AdaptiveStudy:
    """A study whose members are chosen as results come in."""

    options: SearchOptions
    fixed: Mapping[str, Any]
    """The fields of a configuration that do not vary, seed apart."""
    sampler: Sampler = field(init=False)
    """Made once: what is written into --space-file meanwhile is for the next command."""

    def __post_init__(self) -> None:
        """Raises InvalidInputError where a corner of the space breaks a rule of MemberConfig or of the data set."""
        object.__setattr__(self, "sampler", self.options.chosen_sampler)
        for member in self.corners(seed=0):
            num_images = datasets.specification(member.dataset).num_images
            labelled = datasets.labelled_indices(num_images, member.label_rate, seed=0)
            datasets.hold_out(labelled, member.held_out)

    @property
    def space(self) -> Space:
        """The parameters that vary."""
        return self.sampler.space

    def member(self, suggestion: Suggestion, seed: int) -> MemberConfig:
        return MemberConfig.from_dict({**self.fixed, **self.space.fields(suggestion.point), "seed": seed})

    def corners(self, seed: int) -> list[MemberConfig]:
        """The members of all parameters' lowest and of all parameters' highest values."""
        fields = self.space.corners()
        return [MemberConfig.from_dict({**self.fixed, **corner, "seed": seed}) for corner in fields]

    @property
    def study(self) -> Study:
        """The study before any member is known."""
        options = self.options
        rules = {
            "space": str(self.space),
            "sampler": options.sampler,
            "objectives": " ".join(options.objectives),
            "stopper": "asha" if options.stops else "none",
            "first_rung": options.first_rung,
            "reduction": options.reduction,
            "first_seeds": options.first_seeds,
            "search_seed": options.search_seed,
            "reproducible": options.reproducible,
        }
        if options.stops:  # rungs lie where members are evaluated
            rules["evaluate_every"] = options.schedule.evaluate_every
        fixed = {name: list(value) if isinstance(value, tuple) else value for name, value in self.fixed.items()}
        varied = (*self.space.parameters, "seed")
        return Study(options.study, (), options.schedule, fixed=fixed | rules, varied=varied)

    def search(self, rules: Rules, log: SuggestionLog) -> Search:
        """The state that chooses members, from what earlier commands were suggested.

        Raises InvalidInputError where that is damaged: points that no member of the space can have.
        """
        remembered = log.read()
        try:
            for suggestion in remembered:
                self.member(suggestion, seed=0)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            raise log.damaged() from None

        return Search(rules, self.sampler.suggest, self.member, remembered, log.append)

    @property
    def tags(self) -> dict[str, str]:
        """Tags by which MLflow remembers the search, with the study's run."""
        options = self.options
        described = {
            "space": self.space.to_dict(),
            "sampler": options.sampler,
            "objectives": options.objectives,
            "iterations": options.schedule.iterations,
            "rungs": options.rungs,
            "reduction": options.reduction,
            "first_seeds": options.first_seeds,
            "seeds": options.seeds,
            "configurations": options.configurations,
        }
        return {mlflow_names.SEARCH: json.dumps(described)}


def member_tags(configuration: Configuration) -> dict[str, str]:
    """Tags by which MLflow remembers a configuration, with each of its members' runs."""
    point = json.dumps(dict(configuration.suggestion.point))
    return {mlflow_names.CONFIGURATION: str(configuration.number), mlflow_names.POINT: point}
