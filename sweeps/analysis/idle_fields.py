"""Settings that have no effect where another field is 0, as those of label replacement at τ = 0.

`MemberConfig` has them at their defaults there, so that a baseline seems to differ from its LaRVAE by them. It is the
baseline of all members that differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

IDLE_AT_ZERO: Mapping[str, tuple[str, ...]] = {
    "tau": ("replacement_likelihood", "replacement", "detach_nuisance"),
    "alpha": ("label_loss",),
    "z_dim": ("nuisance_variance", "detach_nuisance"),
}
"""Fields that may be 0, and the settings that have no effect then."""


def filled(members: pd.DataFrame) -> pd.DataFrame:
    """Members, each setting where it has no effect being what it is elsewhere, if it is one value there."""
    members = members.copy()
    for name in dict.fromkeys(name for names in IDLE_AT_ZERO.values() for name in names if name in members):
        fields = [field for field, names in IDLE_AT_ZERO.items() if name in names and field in members]
        is_idle = (members[fields] == 0).any(axis="columns")
        if members.loc[~is_idle, name].nunique() == 1:
            members.loc[is_idle, name] = members.loc[~is_idle, name].iloc[0]
    return members


def shared(members: pd.DataFrame, varied: Sequence[str]) -> pd.DataFrame:
    """Members, those of a varied field's 0 once for each value that a setting without effect there has elsewhere.

    Each keeps its index.
    """
    for field, idle in IDLE_AT_ZERO.items():
        names = [name for name in idle if name in members and members[name].nunique() > 1]
        if field not in varied or not names:
            continue
        is_zero = members[field] == 0
        settings = members.loc[~is_zero, names].drop_duplicates().to_dict("records")
        if is_zero.any() and settings:
            alike = [members[is_zero].assign(**{str(name): value for name, value in one.items()}) for one in settings]
            members = pd.concat([members[~is_zero], *alike])
    return members
