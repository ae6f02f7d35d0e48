"""Tables of results in which everything is crossed with everything: seeds with settings, labelled sets with models."""

from __future__ import annotations

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
