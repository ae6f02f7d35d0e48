"""A grid over any fields of a member's configuration, such as τ × α, scheduled by Ray Tune and logged to MLflow.

Trains all combinations of the values × seeds. The same command again goes on from where it stopped.

    python sweeps/grid.py --grid tau=0,1,5 --grid alpha=8,64
    python sweeps/grid.py --grid regulariser=dip_vae_i,dip_vae_ii --grid gamma_tc=1,10 --preset laptop
    python sweeps/grid.py --grid z_dim=1,5,10 --plan          what it would cost, training nothing
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import tyro

from larvae.config import FIELDS, MemberConfig, Schedule
from larvae.errors import InvalidInputError, require_known
from sweeps import options, study, until_decided
from sweeps.console.flags import flags_of_values
from sweeps.console.terminal import LOADING, working
from sweeps.console.trade_off import with_weights
from sweeps.options import StudyOptions, Unseen, Values


@dataclass(frozen=True, kw_only=True, slots=True)
class GridOptions(StudyOptions):
    """The command line of a grid."""

    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Vary a field, or one more: NAME=A,B,C with any field below, which is no option then. Words of one value are
    joined by +, as in observed_factors=shape,shape+scale."""
    gamma: float | None = None
    """The paper's γ of Eq. 5 and, with --lambda, in place of alpha and tau: α = λγ/(1+λγ)/(2σ_y²),
    τ = (1−λ)γ/(1+λγ), and gamma_tc is divided by 1+λγ."""
    share: Annotated[float | None, tyro.conf.arg(name="lambda")] = None
    """The paper's λ of Eq. 6, given with --gamma: 1 encodes labels only, 0 decodes them only."""
    until_decided: str | None = None
    """Claim of docs/claims.md, such as tau-improves: train seeds a round at a time, --seeds at most, and stop once each
    case of it holds or does not."""
    seeds_a_round: int = 1
    """Seeds that a round adds to the first three, with --until-decided."""
    values: Values = field(default_factory=dict)
    """Values that the sweep tries."""
    more: Unseen[Values] = field(default_factory=dict)
    """Values that --grid adds."""

    @property
    def varied(self) -> Values:
        return {**self.values, **self.more}

    def flags(self, arguments: Sequence[str]) -> dict[str, Any]:
        made = StudyOptions.flags(self, arguments)  # `super()` does not know classes with slots
        return made | {"values": flags_of_values(self.values)}


class Budget(NamedTuple):
    """Seeds and training of a preset."""

    seeds: int
    schedule: Schedule


BUDGETS = {
    "quick": Budget(3, Schedule(iterations=500, log_every=50, evaluate_every=250, final_metrics=options.QUICK_METRICS)),
    "laptop": Budget(2, Schedule(iterations=10_000, log_every=100, evaluate_every=1_000)),
    "paper": Budget(6, Schedule(iterations=1_000_000, log_every=1_000, evaluate_every=50_000)),
}
"""Budgets of the presets of most sweeps."""


def presets(
    name: str,
    figure_command: str,
    values: Values,
    budgets: Mapping[str, Budget] = BUDGETS,
    **others: Values,
) -> dict[str, GridOptions]:
    """The presets of a sweep. others: values of single presets, where they have others."""
    return {
        preset: GridOptions(
            preset=preset,
            study=f"{name}-{preset}",
            figure_command=figure_command,
            values={**values, **others.get(preset, {})},
            seeds=budget.seeds,
            schedule=budget.schedule,
        )
        for preset, budget in budgets.items()
    }


SWEPT = tuple(name for name in FIELDS if name not in ("seed", "held_out"))
"""Fields that a grid can vary."""
PRESETS = presets("grid", "analysis/sensitivity.py", {})


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and run the grid; the exit code."""
    return run_grid(arguments, PRESETS, __doc__ or "")


def run_grid(
    arguments: Sequence[str],
    presets: Mapping[str, GridOptions],
    description: str,
    complete: Callable[[GridOptions], GridOptions] = lambda chosen: chosen,
) -> int:
    """Parse the command line of a sweep and run it; the exit code. complete: adds what follows from what is chosen."""
    more = _given_values(arguments)
    presets = {name: _with_more(preset, more) for name, preset in presets.items()}
    chosen = options.parse(arguments, presets, options.default_preset, description)
    usual = presets[chosen.preset].model
    model = with_weights(chosen.model, usual, chosen.varied, chosen.gamma, chosen.share)
    chosen = complete(dataclasses.replace(chosen, model=model))
    if not chosen.varied:
        raise InvalidInputError("`grid` must name a field and its values, as in --grid tau=0,1,5")
    fixed = {name: value for name, value in chosen.model.items() if name not in chosen.varied}

    def of_seeds(number: int) -> study.Study:
        swept = {"seed": range(number), **dict(reversed(list(chosen.varied.items())))}
        return study.grid(chosen.study, fixed, swept, chosen.schedule)

    members = of_seeds(chosen.seeds)
    if claim := chosen.until_decided:
        until_decided.require_looks(claim, members, chosen.seeds, chosen.seeds_a_round)
    options.require_free(chosen)
    with working(LOADING):
        from sweeps import runner  # late: `--help` and errors above need not

    if claim and not chosen.plan:
        return until_decided.run_until_decided(claim, of_seeds, chosen, chosen.seeds_a_round)
    return runner.run_study(members, chosen)


def _with_more(preset: GridOptions, more: Values) -> GridOptions:
    """A preset with more values, named after their fields: another grid is another study."""
    if not more:
        return preset
    for name in more.keys() & preset.values.keys():
        raise InvalidInputError(f"`grid` must name another field than {name}, which --{name.replace('_', '-')}s varies")
    names = "-".join(name.replace("_", "-") for name in more)
    drawn = next((name for name in more if name != "regulariser"), "regulariser")  # which has settings of its own
    command = preset.figure_command if preset.values else f"{preset.figure_command} --parameter {drawn}"
    return dataclasses.replace(preset, study=f"{names}-{preset.study}", figure_command=command, more=more)


def _given_values(arguments: Sequence[str]) -> Values:
    """The values of all --grid. Raises InvalidInputError."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    known.add_argument("--grid", action="append", default=[])
    try:
        texts = known.parse_known_args(list(arguments))[0].grid
    except argparse.ArgumentError as error:
        raise InvalidInputError(str(error)) from None
    values: dict[str, tuple[Any, ...]] = {}
    for name, several in map(parse_values, texts):
        if name in values:
            raise InvalidInputError(f"`grid` must name each field once, got {name} twice")
        values[name] = several
    return values


def parse_values(text: str) -> tuple[str, tuple[Any, ...]]:
    """A field and its values from NAME=A,B,C. Raises InvalidInputError, naming what is wrong."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise InvalidInputError(f"`grid` must be NAME=A,B,C, got {text}")
    require_known("grid", name, SWEPT)
    kind = typing.get_type_hints(MemberConfig).get(name, float)  # settings of regularisers are numbers
    kind = int if kind == int | None else kind
    return name, tuple(_value(name, kind, word.strip()) for word in values.split(",") if word.strip())


def _value(name: str, kind: Any, word: str) -> Any:
    if kind is bool:
        require_known(name, word.lower(), ("true", "false"))
        return word.lower() == "true"
    if kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            numbers = "whole numbers" if kind is int else "numbers"
            raise InvalidInputError(f"`{name}` must be of {numbers}, got {word}") from None
    return word if kind is str else tuple(word.split("+"))


if __name__ == "__main__":
    sys.exit(options.main(run))
