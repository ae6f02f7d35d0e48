"""Tables of members' results: a row a seed, a column a combination of the fields that a claim is made over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from sweeps.analysis.claims.evidence import Evidence
from sweeps.analysis.comparisons import FEWEST_SEEDS
from sweeps.analysis.crossed import full_product
from sweeps.analysis.names import written
from sweeps.analysis.parameters import symbol, value_text

LABELLED_SET = "label_seed"
"""Name of the level of a table that has several labelled sets a seed."""


class Whole(NamedTuple):
    """The part of a table without gaps."""

    table: pd.DataFrame
    left_out: tuple[str, ...]
    """Values of fields that it lacks, in words."""
    num_planned: int
    """Seeds of the table."""

    def evidence(self, part: Evidence) -> Evidence:
        """Evidence that tells of what part of the table it is."""
        return part._replace(left_out=self.left_out, num_planned=self.num_planned)


def whole_part(
    table: pd.DataFrame,
    fewest: Mapping[str, int] = MappingProxyType({}),
    kept: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    seeds: int = FEWEST_SEEDS,
) -> Whole:
    """The part of a table without gaps, labelled sets as one: each value of a field with all of the others.

    seeds: that a test takes; values of fields are left out rather than these, where that gives them.
    """
    part = full_product(table, fewest, kept, seeds)
    names = [str(name) for name in table.columns.names]
    lacks = {name: sorted(set(values_of(table, name)) - set(values_of(part, name))) for name in names}
    left_out = tuple(f"{symbol(name)} = {value_text(value)}" for name, values in lacks.items() for value in values)
    return Whole(over_label_sets(part), left_out, len(table))


def single(tables: Mapping[str, pd.DataFrame]) -> tuple[str, pd.DataFrame]:
    """The one metric of a claim that is asked of each by itself: its name for people, and its table."""
    [(metric, table)] = tables.items()
    return written(metric), table


def values_of(table: pd.DataFrame, field: str) -> list[Any]:
    """The distinct values of a field, ascending."""
    return sorted(set(level(table, field)))


def values_with_results(table: pd.DataFrame, field: str) -> list[Any]:
    """Those of which a seed has a result."""
    return values_of(table.dropna(axis="columns", how="all"), field)


def level(table: pd.DataFrame, field: str) -> pd.Index[Any]:
    """The values of a field, one a column."""
    return table.columns.get_level_values(field)


def among(table: pd.DataFrame, **fields: Sequence[Any]) -> pd.DataFrame:
    """The columns of a table with one of these values of each field."""
    for field, values in fields.items():
        table = table.loc[:, level(table, field).isin(values)]
    return table


def at(table: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    """The columns of a table with these values."""
    return among(table, **{field: [value] for field, value in fields.items()})


def difference(table: pd.DataFrame, field: str, first: Sequence[Any], second: Sequence[Any]) -> pd.Series:
    """Mean of each seed at the first values of a field, less that at the second ones."""
    return among(table, **{field: first}).mean(axis=1) - among(table, **{field: second}).mean(axis=1)


def mean_of(rows: Sequence[pd.Series]) -> Iterable[float]:
    """The mean of several values a seed; none where there are none."""
    return pd.concat(rows, axis=1).mean(axis=1) if rows else ()


def best_column(table: pd.DataFrame) -> Any:
    """The column of the highest mean over seeds."""
    return table.mean().idxmax()


def halves(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seeds that choose, and the others, which judge: so these are as independent as seeds are."""
    return table.iloc[: len(table) // 2], table.iloc[len(table) // 2 :]


def over_rates(table: pd.DataFrame) -> pd.DataFrame:
    """A column a τ: means over all else."""
    return table.T.groupby(level="tau").mean().T


def over_label_sets(table: pd.DataFrame) -> pd.DataFrame:
    """Means over labelled sets, where there are several."""
    others = [name for name in table.columns.names if name != LABELLED_SET]
    return table if len(others) == table.columns.nlevels else table.T.groupby(level=others).mean().T


def with_label_loss(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of members that have a label loss."""
    return among(table, alpha=[weight for weight in values_of(table, "alpha") if weight > 0])


def lacks_pair(table: pd.DataFrame) -> bool:
    """Tell that there are not both, τ = 0 and τ > 0."""
    taus = values_of(table, "tau")
    return len(taus) < 2 or taus[0] > 0
