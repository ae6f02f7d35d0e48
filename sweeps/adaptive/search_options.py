"""The command line of a search, and what is made of it: space, sampler and rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from larvae import datasets
from larvae.config import MOST_ITERATIONS, MemberConfig
from larvae.errors import InvalidInputError, require_known
from larvae.metrics import applicable
from larvae.regularisers import REGULARISERS
from sweeps.adaptive import halving
from sweeps.adaptive.configurations import Rules
from sweeps.adaptive.sampling import LEARNS_FROM_STOPPED, Sampler
from sweeps.adaptive.space import Space, parse_space
from sweeps.options import StudyOptions, Unseen
from sweeps.study import MOST_MEMBERS

STOPPERS = ("asha", "none")
_MOST = {
    "configurations": MOST_MEMBERS,
    "parallel": MOST_MEMBERS,
    "first_rung": MOST_ITERATIONS,
    "reduction": MOST_ITERATIONS,
    "search_seed": 2**63 - 1,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOptions(StudyOptions):
    """The search's command line."""

    hidden: ClassVar[frozenset[str]] = frozenset({"seed"})

    figure_command: Unseen[str] = "analysis/search_report.py"
    model: Mapping[str, Any] = field(default_factory=lambda: {"held_out": 0.1})
    """Data set and model to train: fields of MemberConfig that are not searched."""
    space: tuple[str, ...] = ()
    """Parameters to search: NAME=LOW:HIGH, NAME=LOW:HIGH:log, NAME=LOW:HIGH:log:zero (0 is a choice, too) or
    NAME=A,B,C for tau, z_dim, gamma_tc, label_rate, alpha and learning_rate. All else is fixed by its own option.
    Left out, without --space-file: tau=0.1:10:log:zero gamma_tc=1:20:log z_dim=1:10 (quick: z_dim=2,5,10, each of
    which compiles)."""
    space_file: Path | None = None
    """The same as a TOML file of lines such as `gamma_tc = {low = 1, high = 20, log = true}` or
    `label_rate = [0.01, 0.02]`; parameters given with --space replace those of the file."""
    configurations: int
    """Configurations to try. Raise it later and the search goes on."""
    objectives: tuple[str, ...] = ("mig",)
    """mig (up), l2 (down), or both: a Pareto front. Computed on held-out labelled images only."""
    sampler: str = "tpe"
    """tpe, gp (Gaussian process), cmaes (ranges only), sobol (quasi-random) or random."""
    stopper: str | None = None
    """asha stops configurations that are not among the best at a rung, none trains all to the end. Left out: asha
    where there is one objective and the sampler is tpe, sobol or random."""
    first_rung: int
    """Iterations before a configuration can be stopped; further rungs follow at --reduction times as many."""
    reduction: int = 3
    """The best 1/reduction of a rung goes on, and the best 1/reduction with n seeds gets another one."""
    first_seeds: int = 1
    """Seeds of every configuration; the best ones get up to --seeds."""
    parallel: int | None = None
    """Configurations in training at once. Left out: as many as the cluster holds when the search starts."""
    reproducible: bool = True
    """The same configurations whatever the timing. The price is to wait for stragglers: say --no-reproducible on
    clusters whose devices differ much in speed."""
    search_seed: int = 0
    """Seed of the sampler."""

    @property
    def chosen_space(self) -> Space:
        z_dim = "z_dim=2,5,10" if self.preset == "quick" else "z_dim=1:10"
        default = () if self.space_file else ("tau=0.1:10:log:zero", "gamma_tc=1:20:log", z_dim)
        return parse_space(self.space or default, self.space_file)

    @property
    def stops(self) -> bool:
        """True if losers are stopped early."""
        if self.stopper is None:
            return len(self.objectives) == 1 and self.sampler in LEARNS_FROM_STOPPED
        return self.stopper == "asha"

    def fixed_fields(self, preset: SearchOptions) -> dict[str, Any]:
        """The fields of a configuration that do not vary. InvalidInputError for one that is both searched and given."""
        fields, usual = dict(self.model), {**MemberConfig().to_dict(), **preset.model}
        usual |= {"gamma_tc": REGULARISERS[fields["regulariser"]].default_weight}
        for name, values in self.chosen_space.parameters.items():
            if name in fields and fields[name] != usual.get(name):
                option = name.replace("_", "-")
                raise InvalidInputError(
                    f"`{name}` must be searched or fixed, not both, got --space {name}={values} "
                    f"and --{option} {fields[name]:g}"
                )
            fields.pop(name, None)
        return fields

    def rules(self, parallel: int) -> Rules:
        """Raises InvalidInputError when a rule is broken."""
        return Rules(
            configurations=self.configurations,
            seeds=self.seeds,
            first_seeds=self.first_seeds,
            parallel=parallel,
            iterations=self.schedule.iterations,
            rungs=self.rungs,
            reduction=self.reduction,
            objectives=self.objectives,
            reproducible=self.reproducible,
        )

    @property
    def rungs(self) -> tuple[int, ...]:
        if not self.stops:
            return ()
        return halving.rungs(self.first_rung, self.reduction, self.schedule.iterations, self.schedule.evaluate_every)

    @property
    def chosen_sampler(self) -> Sampler:
        return Sampler(kind=self.sampler, space=self.chosen_space, objectives=self.objectives, seed=self.search_seed)

    def require_valid(self) -> None:
        StudyOptions.require_valid(self)  # `super()` does not know classes with slots
        for name in ("configurations", "first_rung", "first_seeds"):
            if getattr(self, name) <= 0:
                raise InvalidInputError(f"`{name}` must be > 0, got {getattr(self, name)}")
        for name, most in _MOST.items():
            if (got := getattr(self, name)) is not None and got > most:
                raise InvalidInputError(f"`{name}` must be <= {most}, got {got}")
        if self.search_seed < 0:
            raise InvalidInputError(f"`search_seed` must be >= 0, got {self.search_seed}")
        if self.reduction < 2:
            raise InvalidInputError(f"`reduction` must be >= 2, got {self.reduction}")
        if self.parallel is not None and self.parallel <= 0:
            raise InvalidInputError(f"`parallel` must be > 0, got {self.parallel}")
        if self.first_seeds > self.seeds:
            raise InvalidInputError(f"`first_seeds` must be <= seeds ({self.seeds}), got {self.first_seeds}")
        held_out = self.model["held_out"]
        if held_out <= 0:
            raise InvalidInputError(f"`held_out` must be > 0: a search is judged on held-out labels, got {held_out:g}")
        self._require_objectives_that_fit()

    def _require_objectives_that_fit(self) -> None:
        chosen = self.chosen_sampler  # raises where sampler, space and objectives do not fit
        if self.stopper is not None:
            require_known("stopper", self.stopper, STOPPERS)
        if self.stopper == "asha" and len(self.objectives) > 1:
            raise InvalidInputError(
                f"`stopper` asha ranks by one objective, got {' and '.join(self.objectives)}: "
                "give --stopper none, or one of --objectives"
            )
        if self.stopper == "asha" and chosen.kind not in LEARNS_FROM_STOPPED:
            raise InvalidInputError(
                f"`stopper` asha must go with {', '.join(LEARNS_FROM_STOPPED)}, got {chosen.kind}, which learns from "
                "finished configurations only: give --stopper none, or --sampler tpe"
            )
        known = datasets.specification(self.model["dataset"])
        for name in self.objectives:
            if name not in applicable([name], known):
                raise InvalidInputError(
                    f"`objectives` must be l2 with {known.name}, whose factors depend on each other"
                )
