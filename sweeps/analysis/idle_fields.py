"""Settings that have no effect where another field is 0, as those of label replacement at τ = 0.

`MemberConfig` has them at their defaults there, so that a baseline seems to differ from its LaRVAE by them. It is the
baseline of all members that differ in nothing else.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd


class _Rule(NamedTuple):
    fields: tuple[str, ...]
    """Fields that are 0, all of them."""
    idle: tuple[str, ...]
    """Settings that have no effect then."""
    among: tuple[str, str] | None = None
    """A field and its value: the rule is one of members that have it alone, if any is named."""

    def applies(self, members: Mapping[str, Any] | pd.DataFrame) -> Any:
        """Tell whether these settings have no effect on a member; of a frame, on each."""
        return functools.reduce(operator.and_, [members.get(f) == 0 for f in self.fields]) & self.concerns(members)

    def concerns(self, members: Mapping[str, Any] | pd.DataFrame) -> Any:
        """Tell whether the rule is one of a member, be the fields 0 or not; of a frame, of each."""
        if self.among is None:
            return True
        name, value = self.among
        return members.get(name, value) == value


_RULES = (
    _Rule(("tau",), ("replacement_likelihood", "replacement", "detach_nuisance")),
    _Rule(("alpha",), ("label_loss",)),
    _Rule(("tau",), ("pixel_variance",), among=("likelihood", "bernoulli")),
    _Rule(("alpha", "tau"), ("label_scaling", "label_seed"), among=("graphical_model", "joint")),
    _Rule(("z_dim",), ("nuisance_variance", "detach_nuisance")),
)


def idle_at_zero(field: str) -> tuple[str, ...]:
    """Settings that have no effect where this field is 0, whatever others are."""
    return tuple(name for rule in _RULES if rule.fields == (field,) and not rule.among for name in rule.idle)


def idle_of(member: Mapping[str, Any]) -> set[str]:
    """Settings that have no effect on a member, by all of its fields."""
    return {name for rule in _RULES if rule.applies(member) for name in rule.idle}


def is_idle(members: pd.DataFrame, name: str) -> pd.Series[bool]:
    """Mark the members on which a setting has no effect."""
    applying = [rule.applies(members) for rule in _RULES if name in rule.idle]
    return pd.Series(functools.reduce(operator.or_, applying, False), members.index, bool)


def filled(members: pd.DataFrame) -> pd.DataFrame:
    """Members, each setting where it has no effect being what it is elsewhere, if it is one value there."""
    members = members.copy()
    for name in dict.fromkeys(name for rule in _RULES for name in rule.idle if name in members):
        idle = is_idle(members, name)
        if len(values := members.loc[~idle, name].dropna().unique()) == 1:
            members.loc[idle, name] = values[0]
    return members


def shared(members: pd.DataFrame, varied: Sequence[str]) -> pd.DataFrame:
    """Members, those of a varied field's 0 once for each value that a setting without effect there has elsewhere.

    Each keeps its index.
    """
    for rule in _RULES:
        names = [name for name in rule.idle if name in members and members[name].nunique() > 1]
        if not names or not set(rule.fields) & set(varied):
            continue
        is_zero = pd.Series(rule.applies(members), members.index, bool)
        settings = members.loc[~is_zero & rule.concerns(members), names].drop_duplicates().to_dict("records")
        if is_zero.any() and settings:
            alike = [members[is_zero].assign(**{str(name): value for name, value in one.items()}) for one in settings]
            members = pd.concat([members[~is_zero], *alike])
    return members
