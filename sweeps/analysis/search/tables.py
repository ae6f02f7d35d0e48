"""A search as tables: a row a seed, a row a configuration, and the best ones for people."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from larvae.metrics import held_out
from sweeps.analysis.estimates import DRAWN_METRICS
from sweeps.analysis.load import LOGGED_METRICS
from sweeps.analysis.names import written
from sweeps.analysis.search.axes import axes_of
from sweeps.analysis.search.load_search import HELD_OUT, SearchRecord
from sweeps.analysis.search.ranking import SearchResult, held_out_evaluation, pareto_front, ranked

_NOT_FOR_PEOPLE = ("name", "directory", "point", "started_at", "ended_at")


class Table(NamedTuple):
    """Cells as people read them."""

    header: list[str]
    rows: list[list[str]]

    @property
    def text(self) -> str:
        """Lines for the terminal, columns right-aligned."""
        widths = [max(len(row[place]) for row in (self.header, *self.rows)) for place in range(len(self.header))]
        lines = (zip(row, widths, strict=True) for row in (self.header, *self.rows))
        return "\n".join("   ".join(cell.rjust(width) for cell, width in line).rstrip() for line in lines)


def seeds_frame(record: SearchRecord, search: SearchResult) -> pd.DataFrame:
    """One row a member, whatever its status, by configuration and seed.

    configuration_status is the search's: finished, stopped, failed or running; counts tells whether the member is
    part of its configuration's mean. HELD_OUT are those at iteration evaluated_at: the end, or the rung where it was
    stopped. LOGGED_METRICS are of the whole data, at the end. Then MLflow's status, and all parameters.
    """
    rows = []
    members = {str(row["hash"]): row for row in record.members.to_dict("records")}
    for configuration in search.configurations:
        for seed in configuration.seeds:
            row = members[seed.hash]
            values = held_out_evaluation(record, row, configuration.stopped_at)
            rows.append(
                {
                    "configuration": configuration.number,
                    "seed": seed.seed,
                    "configuration_status": configuration.status,
                    "counts": configuration.is_finished and seed.has_finished,
                    **configuration.fields,
                    "evaluated_at": values["iteration"],
                    **{name: values[name] for name in HELD_OUT},
                    **{name: row[name] for name in LOGGED_METRICS if record.members[name].notna().any()},
                    "stopped_at": row["stopped_at"],
                    "iterations": row["iterations"],
                    "status": row["status"],
                    "reason": row["reason"],
                    "hash": seed.hash,
                }
            )
    frame = pd.DataFrame(rows)
    others = record.members.drop(columns=[*LOGGED_METRICS, *_NOT_FOR_PEOPLE]).drop_duplicates("hash").set_index("hash")
    others = others[[name for name in others if name not in frame]]
    whole = dict.fromkeys(("evaluated_at", "stopped_at"), "Int64")
    return frame.join(others, on="hash").astype(whole)


def configurations_frame(seeds: pd.DataFrame, search: SearchResult) -> pd.DataFrame:
    """One row a configuration: rank (finished ones, from 1), status, num_seeds, and mean and standard deviation.

    seeds: of `seeds_frame`. Means are over the seeds that count, so those of finished configurations alone; where two
    objectives are searched, on_front tells the Pareto front.
    """
    ranks = {configuration.number: rank for rank, configuration in enumerate(ranked(search), start=1)}
    front = {configuration.number for configuration in pareto_front(search)}
    metrics = [name for name in (*HELD_OUT, *LOGGED_METRICS) if name in seeds]
    counting = seeds[seeds["counts"]].groupby("configuration")[metrics].agg(["mean", "std"])
    counting.columns = ["_".join(names) for names in counting.columns.to_flat_index()]
    rows = [
        {
            "configuration": configuration.number,
            "rank": ranks.get(configuration.number),
            **({"on_front": configuration.number in front} if len(search.objectives) > 1 else {}),
            "status": configuration.status,
            "stopped_at": configuration.stopped_at or None,
            "num_seeds": configuration.num_seeds if configuration.is_finished else 0,
            **configuration.fields,
        }
        for configuration in search.configurations
    ]
    frame = pd.DataFrame(rows).astype({"rank": "Int64", "stopped_at": "Int64"})
    return frame.join(counting, on="configuration").sort_values(["rank", "configuration"], ignore_index=True)


def best_table(configurations: pd.DataFrame, search: SearchResult, most: int = 10) -> Table:
    """The best configurations: parameters, seeds, held-out metrics and those of the whole data, mean ± sd.

    configurations: of `configurations_frame`.
    """
    axes = axes_of(search.space)
    columns = {held_out(name): written(held_out(name)) for name in DRAWN_METRICS}
    columns |= {name: f"{written(name)}, whole data" for name in DRAWN_METRICS}
    measured = [name for name in columns if f"{name}_mean" in configurations]
    has_front = "on_front" in configurations
    header = ["#", *(["front"] if has_front else []), *(axis.symbol for axis in axes), "seeds"]
    rows = []
    for row in configurations[configurations["rank"].notna()].head(most).to_dict("records"):
        rows.append(
            [
                str(row["configuration"]),
                *(["*" if row["on_front"] else ""] if has_front else []),
                *(f"{row[axis.name]:g}" for axis in axes),
                f"{row['num_seeds']}/{search.planned_seeds}",
                *(mean_and_deviation(row[f"{name}_mean"], row[f"{name}_std"]) for name in measured),
            ]
        )
    return Table([*header, *(columns[name] for name in measured)], rows)


def mean_and_deviation(mean: float, deviation: float) -> str:
    """A mean and a deviation as text, such as `0.342 ± 0.012`; without a deviation from one seed, `-` from none."""
    if np.isnan(mean):
        return "-"
    return f"{mean:.3f}" if np.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"
