"""Shows what a preflight has found: a table with a row a node, and one line of advice for each finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.preflight.checks import Demand, Finding, listed, together
from sweeps.preflight.gathering import Node
from sweeps.preflight.nodes import Facts
from sweeps.tracking.addresses import is_server

ALWAYS = ("host", "CPU", "GPUs")
"""Columns that every table has."""
OTHERS = ("python", "ray", "torch", "packages", "storage", "data", "MLflow", "clock")
"""Columns of a table whose nodes differ, or in which something has been found."""


def in_common(nodes: Sequence[Node], findings: Sequence[Finding], demand: Demand) -> dict[str, str]:
    """The values that all nodes that have answered agree on, by column, where nothing is found."""
    found = {finding.column for finding in findings}
    rows = [_cells(node, demand) for node in nodes if node.facts]
    return {name: rows[0][name] for name in OTHERS if name not in found and len({row[name] for row in rows}) == 1}


def nodes_table(nodes: Sequence[Node], findings: Sequence[Finding], demand: Demand, omitted: Iterable[str]) -> Table:
    """A row a node, but for some columns; cells that a finding concerns are marked."""
    columns = [*ALWAYS, *(column for column in OTHERS if column not in omitted)]
    table = Table("node", *columns, box=None, header_style="bold")
    marked = {(address, finding.column): finding for finding in findings for address in finding.nodes}
    for node in nodes:
        cells = _cells(node, demand)
        row = [_cell(cells[column], marked.get((node.address, column))) for column in columns]
        table.add_row(node.address, *row)
    return table


def advise(findings: Sequence[Finding], console: Console) -> None:
    """One line a finding, of all the nodes that it concerns."""
    for finding in together(findings):
        console.print(_line(finding), markup=False)


def in_one_line(findings: Sequence[Finding]) -> str:
    """The first finding, and how many more there are."""
    first, *more = together(findings)
    others = f" (and {len(more)} more, see above)" if more else ""
    return f"{_where(first)}{first.rule}: {first.advice}{others}"


def _line(finding: Finding) -> str:
    return f"{'✗' if finding.is_fatal else '!'} {_where(finding)}{finding.rule}: {finding.advice}"


def _where(finding: Finding) -> str:
    return f"on {listed(finding.nodes)}: " if finding.nodes else ""


def _cell(text: str, finding: Finding | None) -> Text:
    if finding is None:
        return Text(text)
    mark, style = ("✗", "bold red") if finding.is_fatal else ("!", "yellow")
    return Text(f"{mark} {text if text != 'same' else 'differ'}".strip(), style)


def _cells(node: Node, demand: Demand) -> dict[str, str]:
    """The cells of a node, by column."""
    facts = node.facts
    cpus = f"{node.resources.get('CPU', 0):g}"
    if facts is None:
        return dict.fromkeys((*ALWAYS, *OTHERS), "") | {"host": "no answer", "CPU": cpus}
    has_data = set(demand.prepared) <= set(facts.prepared)
    reached = "unreachable" if facts.tracking else "reached"
    return {
        "host": facts.host,
        "CPU": cpus,
        "GPUs": _gpus_of(facts) or "none",
        "python": facts.python,
        "ray": facts.packages.get("ray", "missing"),
        "torch": facts.packages.get("torch", "missing"),
        "packages": "same",
        "storage": "apart" if facts.storage or node.unseen else "shared",
        "data": "there" if has_data else f"{facts.free_bytes / 1e9:.0f} GB free",
        "MLflow": reached if is_server(demand.tracking_uri) else "a file",
        "clock": f"{node.clock_offset:+.1f} s" if abs(node.clock_offset) >= 0.05 else "agrees",
    }


def _gpus_of(facts: Facts) -> str:
    names = [f"{gpu.name.removeprefix('NVIDIA ')} {gpu.memory / 2**30:.0f} GB" for gpu in facts.gpus]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
