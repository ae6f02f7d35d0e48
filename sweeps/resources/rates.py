"""Rates of one kind of GPU, measured for some ways to fill one: kept with the study, and shown as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table

from larvae.config import FORMAT
from larvae.errors import InvalidInputError
from larvae.files import has_shape, load_json, save_json
from larvae.together.group import Likeness


class Outcome(Enum):
    """The outcome of a measurement."""

    MEASURED = "measured"
    OUT_OF_MEMORY = "out of memory"
    NO_CUDA = "PyTorch finds no GPU where Ray has one"
    NO_FREE_GPU = "no GPU was free"
    FAILED = "failed"


class Measurement(NamedTuple):
    """The measurement of some processes at once on one GPU."""

    members: int
    """Members that each process trains together."""
    processes: int
    outcome: Outcome
    rate: float = 0.0
    """Model-iterations a second of all processes together."""
    process_bytes: float = 0.0
    """Bytes that one process takes of the GPU."""
    reason: str = ""
    """Reason why it failed."""

    @property
    def is_measured(self) -> bool:
        return self.outcome is Outcome.MEASURED


class Conditions(NamedTuple):
    """The conditions that decide rates: others are measured anew."""

    gpu: str
    """Name of the GPU."""
    gpu_bytes: int
    torch: str
    """Version, without its build."""
    likeness: str
    """Traits that the measured members share, and shape their step."""
    cpus: int
    """CPUs of each process."""
    compiled: bool
    members: tuple[int, ...]
    """Numbers of members together that could be measured."""
    most_processes: int


class GpuRates(NamedTuple):
    """The measurements of one kind of GPU."""

    conditions: Conditions
    rows: tuple[Measurement, ...]

    @property
    def is_measured(self) -> bool:
        """True if there is a rate among them."""
        return any(row.is_measured for row in self.rows)


def described(likeness: Likeness) -> str:
    """A likeness in words that are the same in every process."""
    return json.dumps(_plain(likeness))


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def read_rates(path: Path) -> list[GpuRates]:
    """The rates that `save_rates` kept; none where the file is missing, damaged or of another format."""
    try:
        kept = load_json(path)
        return [_rates(gpu) for gpu in kept["gpus"]] if kept["format"] == FORMAT else []
    except (FileNotFoundError, NotADirectoryError, InvalidInputError, LookupError, TypeError, ValueError):
        return []


def save_rates(path: Path, rates: Iterable[GpuRates]) -> None:
    """Keep what was measured, atomically, beside what was kept of other conditions."""
    known = {one.conditions: one for one in (*read_rates(path), *rates)}
    gpus = [
        one.conditions._asdict() | {"rows": [row._asdict() | {"outcome": row.outcome.value} for row in one.rows]}
        for one in known.values()
    ]
    save_json(path, {"format": FORMAT, "gpus": gpus})


def _rates(fields: Mapping[str, Any]) -> GpuRates:
    """The rates that were kept of one kind of GPU. Raises LookupError, TypeError or ValueError where it is damaged."""
    fields = dict(fields)
    kept = fields.pop("rows")
    numbers = fields["members"]
    if not (has_shape(fields, **_CONDITIONS) and all(has_shape(row, **_ROW) for row in kept)):
        raise TypeError("a value is of another kind")
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError("a number of members is none")
    rows = tuple(Measurement(**row | {"outcome": Outcome(row["outcome"])}) for row in kept)
    return GpuRates(Conditions(**fields | {"members": tuple(numbers)}), rows)


_CONDITIONS: dict[str, Any] = {
    **dict.fromkeys(("gpu", "torch", "likeness"), str),
    **dict.fromkeys(("gpu_bytes", "cpus", "compiled", "most_processes"), int),
    "members": list,
}
_ROW: dict[str, Any] = {
    **dict.fromkeys(("members", "processes"), int),
    **dict.fromkeys(("rate", "process_bytes"), (int, float)),
    "reason": str,
}


def rates_table(rates: GpuRates, members: int, processes: int) -> Group:
    """A row a measurement, and the number of members and of processes on one GPU that were chosen; 0 where none are."""
    gpu = f"{rates.conditions.gpu}, {rates.conditions.gpu_bytes / 1e9:.0f} GB"
    chosen = f"{_times(processes, 'trial')} of {_times(members, 'member')}" if processes else "none"
    table = Table(box=None, header_style="bold")
    for heading in ("members together", "processes", "a second", "GB a process"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in sorted(rates.rows):
        numbers = (f"{row.rate:,.0f}", f"{row.process_bytes / 1e9:.1f}") if row.is_measured else ("", "")
        note = "" if row.is_measured else row.reason or row.outcome.value
        table.add_row(str(row.members), str(row.processes), *numbers, note)
    return Group(f"Model-iterations a second on one {gpu}:", table, f"Chosen for each such GPU: {chosen}")


def _times(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' if number > 1 else ''}"


def of_members(rows: Sequence[Measurement], members: int) -> list[Measurement]:
    """The measured rows of a number of members together, by their number of processes."""
    return sorted((row for row in rows if row.members == members and row.is_measured), key=lambda row: row.processes)
