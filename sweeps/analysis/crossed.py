"""Tables of results in which everything is crossed with everything: seeds with settings, labelled sets with models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def without_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """The largest part of a table without a gap that leaving out rows or columns with most gaps gives."""
    while table.isna().any(axis=None):
        gaps_of_rows, gaps_of_columns = table.isna().mean(axis=1), table.isna().mean(axis=0)
        if gaps_of_rows.max() >= gaps_of_columns.max():
            table = table.drop(index=gaps_of_rows.idxmax())
        else:
            table = table.drop(columns=[gaps_of_columns.idxmax()])
    return table


def full_product(
    table: pd.DataFrame, fewest: Mapping[str, int], kept: Mapping[str, Sequence[Any]], rows: int = 0
) -> pd.DataFrame:
    """The part of a table in which each row has all combinations of the values of its fields.

    table: a column a combination, with a level a field; gaps are NaN, and combinations that are not there. Rows and
    values of fields with most gaps are left out until there is none, a whole value at a time, so that no field's values
    stand for another's. fewest: values of a field that stay, by its name; one where it is not told. kept: values that
    stay. rows: how many stay where leaving out values can bring that about. Without rows where nothing can be had.
    """
    for wanted in range(min(rows, len(table)), 0, -1):
        if len(part := _reduced(table, fewest, kept, wanted)) >= wanted:
            return part
    return _reduced(table, fewest, kept, 0)


def _reduced(
    table: pd.DataFrame, fewest: Mapping[str, int], kept: Mapping[str, Sequence[Any]], rows: int
) -> pd.DataFrame:
    levels = [sorted(set(level)) for level in zip(*table.columns.to_list(), strict=True)]
    table = table.reindex(columns=pd.MultiIndex.from_product(levels, names=table.columns.names))
    while table.isna().any(axis=None):
        gaps = table.isna()
        worst, drop = gaps.mean(axis=1).max(), table.drop(index=gaps.mean(axis=1).idxmax())
        if len(table) <= rows:  # only where no value can be left out
            worst = 0.0
        for field in map(str, table.columns.names):
            of_values = gaps.mean().groupby(level=field).mean()
            if len(of_values) > fewest.get(field, 1):
                free = of_values.drop(list(kept.get(field, ())))
                if len(free) and free.max() > worst:
                    worst, drop = free.max(), table.drop(columns=[free.idxmax()], level=field)
        table = drop
    return table
